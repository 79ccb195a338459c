"""A field's night: its memories, walks that leave them as they are, the command's files, and one line per mistake."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scipy.stats import ks_2samp
from torch.nn.functional import normalize

from apm_tta.apm import APM, APMConfig
from apm_tta.cli import main
from apm_tta.data.unlabelled import all_images
from apm_tta.dream import denoiser, denoiser_training
from apm_tta.dream.basis import Basis, principal_basis
from apm_tta.dream.denoiser import Denoiser
from apm_tta.dream.denoiser_training import train_denoiser
from apm_tta.dream.langevin import langevin, tuned_step
from apm_tta.dream.memory_file import load_memory
from apm_tta.dream.mixture import Mixture, fit_mixture
from apm_tta.dream.path import at_even_distances, shortest_paths
from apm_tta.dream.towards import Towards
from apm_tta.field.checkpoint import TrainingState, load_field
from apm_tta.field.samples import images_digest, split
from apm_tta.field.settings import Settings, schedule_for, sizes_of
from apm_tta.teachers import load_teacher

CPU = torch.device("cpu")


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_field(path: Path, seed: int) -> None:
    """Write a field that was not trained: its columns and answers are as large as a trained one's."""
    images = all_images("fashion-mnist")
    _, held_out = split(images)
    teacher = load_teacher("embedded")
    config = replace(APMConfig.for_teacher(32, 4, 128), hidden=(32, 16), readout="mean")
    settings = Settings(
        schedule=schedule_for(config, 3, {"precision": "float32", "seed": seed, "limit": 400}),
        teacher="embedded",
        teacher_identity=dict(teacher.identity),
        images_sha256=images_digest(images, held_out, config.image_size),
        training_images=400,
        validation_images=len(held_out),
        width=128,
        teacher_grid=8,
        sizes=sizes_of(config),
        reading=images[0].reading,
    )
    apm = APM(config)
    apm.initialise(generator(seed))
    optimizer = torch.optim.Adam(apm.parameters())
    ids = [image.id for image in held_out]
    TrainingState(apm, optimizer, torch.zeros(128), torch.ones(128), settings, ids, []).write(path)


@pytest.fixture(scope="module")
def remembered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint with its density beside it."""
    path = tmp_path_factory.mktemp("night") / "field.safetensors"
    write_field(path, 0)
    assert main(["remember", "--checkpoint", str(path), "--memory", "density", "--quiet"]) == 0
    return path


@pytest.fixture(scope="module")
def density(remembered: Path) -> Mixture:
    memory, data = load_memory(remembered, "density", load_field(remembered, CPU))
    assert data == "fashion-mnist"
    assert isinstance(memory, Mixture)
    return memory


def plain_basis(width: int) -> Basis:
    return Basis(torch.zeros(width), torch.eye(width), torch.ones(width))


def test_a_basis_returns_what_it_spans() -> None:
    flat = torch.randn(200, 3, generator=generator(0)) @ torch.randn(3, 16, generator=generator(1)) + 5
    basis = principal_basis(flat)
    assert basis.width <= 3
    torch.testing.assert_close(basis.points(basis.columns(basis.points(flat))), basis.points(flat))
    torch.testing.assert_close(basis.points(flat).std(0), torch.ones(basis.width), atol=1e-3, rtol=0)
    with pytest.raises(ValueError, match="all columns are equal"):
        principal_basis(torch.ones(9, 4))


def test_a_mixture_s_energy_is_that_of_its_gaussians_and_its_size_follows_held_out_points() -> None:
    centres = torch.tensor([[-4.0, 0.0], [4.0, 0.0]])
    points = centres.repeat(300, 1) + 0.5 * torch.randn(600, 2, generator=generator(0))
    mixture, likelihoods = fit_mixture(plain_basis(2), points[:500], points[500:], 0)
    assert len(mixture.weights) == 2
    assert max(likelihoods, key=lambda count: likelihoods[count]) == 2
    covariances = torch.linalg.inv(mixture.factors @ mixture.factors.transpose(1, 2))
    direct = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(mixture.weights),
        torch.distributions.MultivariateNormal(mixture.means, covariances),
    )
    torch.testing.assert_close(mixture.energy(points), -direct.log_prob(points), atol=1e-3, rtol=1e-4)
    drawn = mixture.sample(2000, generator(1))
    assert (drawn[:, 0] > 0).float().mean() == pytest.approx(0.5, abs=0.05)
    assert drawn[drawn[:, 0] > 0].std(0).tolist() == pytest.approx([0.5, 0.5], abs=0.06)


def test_started_from_the_density_a_walk_keeps_its_energies_and_no_chain_stands_still(density: Mixture) -> None:
    step, _ = tuned_step(density.energy, density.sample(64, generator(0)), generator(1))
    start = density.sample(300, generator(2))
    walk = langevin(density.energy, start, 100, step, generator(3))
    direct = density.energy(density.sample(2000, generator(4)))
    assert ks_2samp(walk.energies[-1].numpy(), direct.numpy()).pvalue > 0.01
    assert float(walk.accepted.min()) > 0
    assert 0.4 < float(walk.accepted.mean()) < 0.9
    moved = (walk.points[-1] - start).norm(dim=1)
    assert float(moved.min()) > 0
    assert float(moved.median()) > 0.2 * float((start[1:] - start[:-1]).norm(dim=1).median())
    torch.testing.assert_close(walk.energies[-1], density.energy(walk.points[-1]), atol=1e-3, rtol=1e-4)


def test_steps_that_are_never_refused_leave_the_density(density: Mixture) -> None:
    """What Metropolis is for."""
    step, _ = tuned_step(density.energy, density.sample(64, generator(0)), generator(1))
    points, noise = density.sample(300, generator(2)), generator(3)
    for _ in range(100):
        free = points.clone().requires_grad_()
        (slope,) = torch.autograd.grad(density.energy(free).sum(), free)
        points = points - step * slope + (2 * step) ** 0.5 * torch.randn(points.shape, generator=noise)
    direct = density.energy(density.sample(2000, generator(4)))
    assert ks_2samp(density.energy(points).numpy(), direct.numpy()).pvalue < 1e-6


def test_paths_keep_their_ends_and_go_where_the_density_is_higher(density: Mixture) -> None:
    start, end = density.sample(8, generator(0)), density.sample(8, generator(1))
    paths = shortest_paths(density.energy, start, end, 20)
    assert paths.points.shape == (21, 8, density.basis.width)
    torch.testing.assert_close(paths.points[0], start)
    torch.testing.assert_close(paths.points[-1], end)
    assert bool((paths.energy < paths.straight).all())
    assert float(paths.length.max()) < 1


def test_states_along_a_polygon_have_even_distances() -> None:
    corner = torch.tensor([[0.0, 0.0], [3.0, 0.0], [3.0, 1.0]])[:, None]
    found = at_even_distances(corner, 4)[:, 0]
    torch.testing.assert_close(found, torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [3.0, 1.0]]))


def test_an_untrained_network_remembers_one_gaussian() -> None:
    """Its last layer answers with zeros, so that what it undoes is noise on a Gaussian of variance 1."""
    network = Denoiser(plain_basis(4))
    network.initialise(generator(0))
    points, sigma = torch.randn(16, 4, generator=generator(1)), torch.full((16, 1), 3.0)
    torch.testing.assert_close(network.energy_at(points, sigma), points.square().sum(1) / 20)
    torch.testing.assert_close(network.denoise(points, sigma), points / 10)


def test_a_network_that_undoes_noise_draws_what_it_was_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denoiser, "_WIDTH", 48)
    for name, value in {"_ROUNDS": 3, "_RATE": 1e-2, "_AVERAGED": 0.9}.items():
        monkeypatch.setattr(denoiser_training, name, value)
    points = torch.sign(torch.randn(900, 2, generator=generator(0))) + 0.1 * torch.randn(900, 2, generator=generator(1))
    network, losses = train_denoiser(plain_basis(2), points[:800], points[800:], 0)
    assert min(losses) < losses[0]
    drawn = network.shown(network.sample(200, generator(2)))
    corners = torch.tensor([[-1.0, -1], [-1, 1], [1, -1], [1, 1]])
    distances, nearest = torch.cdist(drawn, corners).min(1)
    of_gaussian = torch.cdist(torch.randn(200, 2, generator=generator(3)), corners).min(1).values
    assert float(distances.median()) < float(of_gaussian.median())
    assert len(nearest.unique()) == 4


def test_a_text_draws_the_token_towards_it() -> None:
    basis = plain_basis(4)
    mixture = Mixture(basis, torch.ones(1), torch.zeros(1, 4), torch.eye(4)[None])
    aim = normalize(torch.tensor([1.0, 1.0, 0.0, 0.0]), dim=0)
    text = Towards("a boot", aim, 20.0, lambda columns: normalize(columns, dim=-1))
    energy, start = text.added_to(mixture.energy, basis), mixture.sample(64, generator(0))
    assert abs(float(text.agreement(start).mean())) < 0.2
    assert float(text.agreement(langevin(energy, start, 100, 0.1, generator(1)).points[-1]).mean()) > 0.8


def dream(checkpoint: Path, out: Path, *words: str) -> int:
    return main(["dream", "--checkpoint", str(checkpoint), "--dreams", "4", "--steps", "20", "--out", str(out), *words])


def test_the_same_seed_gives_the_same_dream(
    remembered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also in a folder where it was killed before, and with other threads."""
    assert dream(remembered, tmp_path / "a", "--animation", "webp") == 0
    output = capsys.readouterr().out
    names = {"dream.png", "dream-sheet.png", "dream-strips.png", "dream.webp", "dream.csv"}
    assert {path.name for path in (tmp_path / "a").iterdir()} == names
    assert "Metropolis accepted" in output
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / "dream.csv").unlink()
    torch.set_num_threads(2)
    assert dream(remembered, tmp_path / "b", "--animation", "webp") == 0
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    assert dream(remembered, tmp_path / "c", "--seed", "1") == 0
    assert (tmp_path / "c" / "dream.csv").read_bytes() != (tmp_path / "a" / "dream.csv").read_bytes()
    with (tmp_path / "a" / "dream.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["dream"], row["step"]) for row in rows[:5]] == [*((str(n), "0") for n in range(4)), ("0", "10")]
    assert len(rows) == 3 * 4
    assert all(0.1 < float(row["probability"]) <= 1 for row in rows)


def test_a_path_through_the_network(
    remembered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(denoiser_training, "_ROUNDS", 1)
    monkeypatch.setattr(denoiser_training, "_STEPS", 10)
    assert main(["remember", "--checkpoint", str(remembered), "--memory", "network", "--quiet"]) == 0
    words = ("--memory", "network", "--walk", "path", "--teacher", "none", "--resolution", "16", "--dreams", "2")
    assert dream(remembered, tmp_path, *words) == 0
    assert "it is lower along" in capsys.readouterr().out
    with (tmp_path / "dream.csv").open(newline="") as file:
        assert next(csv.reader(file)) == ["dream", "step", "energy", "islands"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--memory", "network", "--seed", "2"], 1, "has no network, which would be other.network.safetensors beside"),
        (["--towards", "a boot"], 2, "--towards needs a field whose token was trained"),
        (["--towards", "a boot", "--teacher", "none"], 2, "encodes text, and there is no teacher"),
        (["--towards", "a boot", "--walk", "path"], 2, "--towards needs --walk langevin"),
        (["--resolution", "30"], 2, "is no multiple of a grid of 8 x 8"),
        (["--classes", ""], 2, "names nothing"),
        (["--walk", "sleep"], 2, "'sleep' is not one of"),
    ],
)
def test_mistakes_get_one_line(
    words: list[str], code: int, message: str, remembered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.safetensors"
    shutil.copy(remembered, other)
    shutil.copy(remembered.with_name("field.density.safetensors"), tmp_path / "other.density.safetensors")
    capsys.readouterr()
    assert dream(other, tmp_path / "out", *words) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_memories_that_are_damaged_or_of_others_get_one_line(
    remembered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, memory = tmp_path / "field.safetensors", tmp_path / "field.density.safetensors"
    write_field(path, 1)
    shutil.copy(remembered.with_name(memory.name), memory)
    assert dream(path, tmp_path / "out") == 1
    assert "which was trained since; run-bench remember" in capsys.readouterr().err
    for damage in (b"", memory.read_bytes()[:-9], path.read_bytes()):
        memory.write_bytes(damage)
        assert dream(path, tmp_path / "out") == 1
        error = capsys.readouterr().err
        assert "field.density.safetensors is damaged" in error
        assert error.count("\n") == 1
    (tmp_path / "images").mkdir()
    shutil.copy(Path(__file__).parents[2] / "docs" / "pictures" / "coffee.jpg", tmp_path / "images")
    assert main(["remember", "--checkpoint", str(path), "--data", str(tmp_path / "images")]) == 2
    assert "does not hold the images that the checkpoint was trained on" in capsys.readouterr().err
