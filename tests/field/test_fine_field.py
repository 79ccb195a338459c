"""A fine field: targets at places between the locations, and a token that is trained to the teacher's embedding."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cosine_similarity, normalize

from apm_tta.apm import APMConfig
from apm_tta.apm.heads import rgb_target
from apm_tta.cli import main
from apm_tta.data.unlabelled import all_images, one_image
from apm_tta.field.between import draw_places, fine_tokens, values_at
from apm_tta.field.checkpoint import load_field
from apm_tta.field.field_answers import column_of
from apm_tta.field.samples import Samples
from apm_tta.islands.fine import cell_centres, fine_grids
from apm_tta.teachers import Teacher
from apm_tta.teachers.square import Square

CONFIG = APMConfig(image_size=32, patch_size=4, hidden=(8,), feature_dim=136)


def test_at_the_centres_of_cells_values_are_the_cells() -> None:
    values = torch.randn(2, 12, 12, 5, generator=torch.Generator().manual_seed(0))
    places = cell_centres(4, 3).expand(2, -1, -1)
    torch.testing.assert_close(values_at(values, places, 4), values.flatten(1, 2))


def test_between_cells_values_lie_on_a_plane_and_beyond_the_outermost_they_stay() -> None:
    ramp = (torch.arange(8) + 0.5) / 2 - 0.5
    plane = torch.stack([ramp[:, None].expand(8, 8), ramp.expand(8, 8)], -1)[None]
    places = draw_places(4, 200, torch.Generator().manual_seed(1))[None]
    assert places.min() < -0.25
    assert places.max() > 3.25
    torch.testing.assert_close(values_at(plane, places, 4), places.clamp(-0.25, 3.25))


def test_samples_have_the_finer_tokens_and_colours_at_their_places(embedded_teacher: Teacher) -> None:
    images = all_images("fashion-mnist")[:3]
    kept, computed = (Samples(images, embedded_teacher, 2, CONFIG, 2, 0, factor=2) for _ in range(2))
    assert kept.keep(lambda batches: batches)
    batch = kept.get([4, 0])
    for one, other in zip(batch, computed.get([4, 0]), strict=True):
        torch.testing.assert_close(one, other)
    assert not torch.equal(batch.places[0], batch.places[1])
    pixels = Square(embedded_teacher.preprocessing)(images[0].read())[None]
    (grid,) = fine_grids(embedded_teacher, pixels, [2], 16, "stride")
    expected = values_at(grid.features[None], batch.places[1:], 8)[0]
    torch.testing.assert_close(batch.tokens[1, :, :128], expected, atol=1e-4, rtol=1e-4)
    assert not batch.tokens[..., 128:].any()
    cells = rgb_target(kept.normalized(batch.pixels[1:]), 2).unflatten(1, (16, 16))
    torch.testing.assert_close(batch.colours[1:], values_at(cells, batch.places[1:], 8))
    with torch.no_grad():
        embedding = normalize(embedded_teacher.encode_image(pixels), dim=-1)[0]
    torch.testing.assert_close(batch.embeddings[1, :64], embedding, atol=1e-5, rtol=1e-4)
    nearest = batch.nearest()[1]
    rows, columns = nearest // 8, nearest % 8
    assert ((batch.places[1] - torch.stack([rows, columns], 1)).abs() <= 0.5).all()


def test_without_a_factor_tokens_are_at_the_locations(embedded_teacher: Teacher) -> None:
    batch = Samples(all_images("fashion-mnist")[:2], embedded_teacher, 2, CONFIG, 1, 0).get([0, 1])
    chosen = torch.tensor([5, 63])
    assert torch.equal(batch.locations(chosen), chosen)
    assert torch.equal(batch.nearest(), torch.arange(64).expand(2, -1))
    assert batch.embeddings.numel() == 0


def test_a_fine_field_is_trained_resumed_and_asked(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Use two tokens a side for each, since four take long; the colours' squares and the token learn."""
    monkeypatch.setattr("apm_tta.field.between._MOST", 16)
    folder, out = tmp_path / "images", tmp_path / "out"
    folder.mkdir()
    for index, each in enumerate(all_images("fashion-mnist")[:80]):
        each.read().save(folder / f"{index:02d}.png")
    more = [*words, "--fine", "--data", str(folder), "--epochs", "6", "--out", str(out)]
    assert main(more) == 0
    output = capsys.readouterr().out
    assert "targets anywhere, of 16 x 16 tokens" in output
    assert "Cosine of the token to the teacher's embedding: 0." in output
    settings = json.loads((out / "settings.json").read_text())
    assert (settings["schedule"]["fine"], settings["sizes"]["readout"]) == (2, "token")
    field = load_field(out / "field.safetensors", torch.device("cpu"))
    image = one_image("fashion-mnist:test/00004").read()
    with torch.no_grad():
        column = column_of(field, image)
        everywhere = torch.arange(64)
        token = field.apm.readout(field.apm.query(column, everywhere))
    assert token.shape == (1, 128)
    losses = [float(line.split(",")[3]) for line in (out / "epochs.csv").read_text().splitlines()[1:]]
    assert losses[-1] < losses[0]
    assert main(more) == 0
    assert "has 6 of 6 epochs; resuming" in capsys.readouterr().err
    assert main([word for word in more if word != "--fine"]) == 1
    assert "schedule.fine: 2 there, 1 now" in capsys.readouterr().err


def test_a_teacher_without_patches_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train-field", "--fine", "--teacher", "embedded-resnet", "--out", str(tmp_path), "--quiet"]
    code = main(words)
    error = capsys.readouterr().err
    assert code in (1, 2)
    assert error.count("\n") == 1


def test_fine_tokens_are_those_of_the_way_in_any_number(embedded_teacher: Teacher) -> None:
    images = [Square(embedded_teacher.preprocessing)(image.read()) for image in all_images("fashion-mnist")[:9]]
    together = fine_tokens(embedded_teacher, torch.stack(images), 3, 2, 8)
    assert together.shape == (9, 16, 16, 128)
    (alone,) = fine_grids(embedded_teacher, images[8][None], [3], 16, "stride")
    assert cosine_similarity(together[8], alone.features, dim=-1).min() > 0.9999
