"""Learned prompts: checkpoints as CoOp's trainer writes them, class weights as CoOp's code computes them, and runs."""

from __future__ import annotations

import copy
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import normalize

import apm_tta
from apm_tta.data.cards import load_card
from apm_tta.data.dataset import open_dataset
from apm_tta.data.sample import CLEAN
from apm_tta.errors import UserError
from apm_tta.methods import METHODS
from apm_tta.teachers import LazyTeacher, load_teacher
from apm_tta.teachers.learned_prompts import PromptedTeacher, read_context

CLASSES = load_card("fashion-mnist").class_list.names
WIDTH = 64
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def teacher() -> LazyTeacher:
    return load_teacher("embedded")


@pytest.fixture(scope="module")
def vectors() -> Tensor:
    return 0.5 * torch.randn(4, WIDTH, generator=torch.Generator().manual_seed(0))


def names_behind(teacher: LazyTeacher, classes: tuple[str, ...] = CLASSES) -> Tensor:
    """Return what CoOp stores as ``token_suffix``: the embeddings behind four vectors."""
    tower = teacher.text_tower
    assert tower is not None
    with torch.no_grad():
        return tower.embed(tower.tokens([f"X X X X {name}." for name in classes]))[:, 5:]


def write(path: Path, state: State) -> Path:
    """Write what Dassl's ``save_checkpoint`` writes: an optimiser's state, and a scheduler that refers to another."""
    parameter = nn.Parameter(torch.zeros(4, WIDTH))
    optimizer = torch.optim.SGD([parameter], lr=0.002, momentum=0.9)
    parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    successor = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50)
    scheduler = {"successor": successor, "last_epoch": 50, "warmup_epoch": 1, "seen": defaultdict(int, {"a": 1})}
    content = {
        "state_dict": state,
        "epoch": 50,
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler,
        "val_result": None,
    }
    torch.save(content, path)
    return path


def as_coop_computes(teacher: LazyTeacher, vectors: Tensor) -> Tensor:
    """Compute class weights by CoOp's steps on open_clip's own modules: prefix, vectors, suffix, whole transformer."""
    built: Any = teacher.built
    model = built.model
    tokens = built.tokenizer([f"X X X X {name}." for name in CLASSES])
    with torch.no_grad():
        embedded = model.token_embedding(tokens)
        prompts = torch.cat([embedded[:, :1], vectors.expand(len(CLASSES), 4, WIDTH), embedded[:, 5:]], dim=1)
        values = model.transformer(prompts + model.positional_embedding, attn_mask=model.attn_mask)
        values = model.ln_final(values)[torch.arange(len(CLASSES)), tokens.argmax(-1)]
        return normalize(values @ model.text_projection, dim=-1)


def test_class_weights_are_those_of_coop_s_steps(teacher: LazyTeacher, vectors: Tensor, tmp_path: Path) -> None:
    """From a checkpoint with a scheduler of objects, of which none is made."""
    state = {"ctx": vectors, "token_prefix": torch.zeros(10, 1, WIDTH), "token_suffix": names_behind(teacher)}
    path = write(tmp_path / "model.pth.tar-50", state)
    with pytest.raises(Exception, match="CosineAnnealingLR"):
        torch.load(path, weights_only=True)
    prompted = PromptedTeacher(teacher, read_context(path))
    found = prompted.class_weights(CLASSES, ("ignored {}",))
    torch.testing.assert_close(found, as_coop_computes(teacher, vectors), rtol=0, atol=1e-5)
    assert not torch.allclose(found, teacher.class_weights(CLASSES, ("X X X X {}.",)), atol=1e-2)
    assert (prompted.classifier, prompted.tokenizer_sha256) == ("prompts", teacher.tokenizer_sha256)


def test_the_identity_is_that_of_the_values_wherever_and_however_they_are_stored(
    teacher: LazyTeacher, vectors: Tensor, tmp_path: Path
) -> None:
    save_file({"prompt_learner.ctx": vectors}, tmp_path / "prompts.safetensors")
    torch.save({"ctx": vectors}, tmp_path / "bare.pt")
    paths = [
        tmp_path / "prompts.safetensors",
        tmp_path / "bare.pt",
        write(tmp_path / "model.pth.tar", {"prompt_learner.ctx": vectors}),
    ]
    identities = {PromptedTeacher(teacher, read_context(path)).identity["prompts"] for path in paths}
    assert len(identities) == 1
    torch.save({"ctx": vectors + 1e-6}, tmp_path / "other.pt")
    assert read_context(tmp_path / "other.pt").identity not in identities


def test_vectors_of_each_class_need_the_classes_of_training(
    teacher: LazyTeacher, vectors: Tensor, tmp_path: Path
) -> None:
    """The embeddings of their names are in the file, in half precision: other classes, or another order, are told."""
    own = vectors + 0.01 * torch.arange(10)[:, None, None]
    state = {"ctx": own, "token_suffix": names_behind(teacher).half()}
    prompted = PromptedTeacher(teacher, read_context(write(tmp_path / "own.pth.tar", state)))
    found = prompted.class_weights(CLASSES, ())
    for index in (0, 9):
        expected = as_coop_computes(teacher, own[index])[index]
        torch.testing.assert_close(found[index], expected, rtol=0, atol=1e-5)
    with pytest.raises(UserError, match="which are not those of the data set, in its order"):
        prompted.class_weights(CLASSES[::-1], ())
    with pytest.raises(UserError, match="for each of 10 classes; the data set has 9"):
        prompted.class_weights(CLASSES[:9], ())
    unknown = PromptedTeacher(teacher, read_context(write(tmp_path / "unknown.pth.tar", {"ctx": own})))
    with pytest.raises(UserError, match=r"do not say which these are \(token_suffix\)"):
        unknown.class_weights(CLASSES, ())
    with pytest.raises(UserError, match="method tpt tunes vectors that all classes share"):
        apm_tta.load_method("tpt", prompted, classes=CLASSES, views=4)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"ctx": torch.zeros(4, WIDTH), "meta_net.linear1.weight": torch.zeros(4, 4)}, "are CoCoOp's, whose prompts"),
        (
            {"prompt_learner.ctx": torch.zeros(2, WIDTH), "prompt_learner.compound_prompts_text.0": torch.zeros(2, 64)},
            "are MaPLe's, whose prompts go into deeper layers of both towers",
        ),
        (
            {"ctx": torch.zeros(4, WIDTH), "image_encoder.conv1.weight": torch.zeros(4)},
            "hold more than context vectors",
        ),
        ({"weight": torch.zeros(4, 4)}, "have no ctx; their first tensor is weight"),
        ({"ctx": torch.full((4, WIDTH), float("nan"))}, "have no finite vectors"),
        ({"ctx": torch.zeros(WIDTH)}, r"have no finite vectors \(n, W\) or \(C, n, W\), but \(64,\)"),
    ],
)
def test_prompts_of_another_kind_are_refused(state: State, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message) as refused:
        read_context(write(tmp_path / "model.pth.tar", state))
    assert refused.value.exit_code == 2
    assert "\n" not in str(refused.value)


def test_a_file_that_would_run_code_runs_none(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "made"),)

    torch.save({"state_dict": {"ctx": torch.zeros(4, WIDTH)}, "scheduler": Evil()}, tmp_path / "evil.pth.tar")
    with pytest.raises(UserError, match="contains more than weights"):
        read_context(tmp_path / "evil.pth.tar")
    assert not (tmp_path / "made").exists()


def test_a_teacher_of_another_width_or_without_text_is_refused(
    teacher: LazyTeacher, vectors: Tensor, tmp_path: Path
) -> None:
    torch.save({"ctx": torch.zeros(4, 512)}, tmp_path / "wide.pt")
    with pytest.raises(UserError, match="are of width 512; the text tower of teacher embedded has 64"):
        PromptedTeacher(teacher, read_context(tmp_path / "wide.pt"))
    with pytest.raises(UserError, match="there is no such file"):
        read_context(tmp_path / "none.pt")
    torch.save({"ctx": vectors}, tmp_path / "prompts.pt")
    prototypes = load_teacher("embedded", classifier="prototypes")
    with pytest.raises(UserError, match=r"need a text tower; .* come from its prototypes"):
        PromptedTeacher(prototypes, read_context(tmp_path / "prompts.pt"))


def test_tpt_starts_from_them(teacher: LazyTeacher, vectors: Tensor, tmp_path: Path) -> None:
    """As TPT + CoOp: before the first step its class weights are the learned ones; words of its own are refused."""
    torch.save({"ctx": vectors}, tmp_path / "prompts.pt")
    prompted = PromptedTeacher(teacher, read_context(tmp_path / "prompts.pt"))
    tpt: Any = apm_tta.load_method("tpt", prompted, classes=CLASSES, views=4).method
    assert torch.equal(tpt.context, vectors)
    expected = prompted.class_weights(CLASSES, ())
    torch.testing.assert_close(tpt.initial_weights, expected, rtol=0, atol=1e-5)
    assert tpt.resolved_parameters()["context"] == "learned"
    with pytest.raises(UserError, match=r"starts from --prompts: tpt.context has no effect"):
        apm_tta.load_method("tpt", prompted, classes=CLASSES, context="a picture of a")


def test_methods_with_sentences_of_their_own_are_refused(teacher: LazyTeacher, vectors: Tensor, tmp_path: Path) -> None:
    torch.save({"ctx": vectors}, tmp_path / "prompts.pt")
    prompted = PromptedTeacher(teacher, read_context(tmp_path / "prompts.pt"))
    refused = [name for name in METHODS.names() if METHODS.get(name).needs_text]
    refused = [name for name in refused if not METHODS.get(name).starts_from_prompts]
    assert {"ensemble", "batclip", "clipartt"} <= {*refused}
    for name in refused:
        with pytest.raises(UserError, match=r"needs class weights from a text tower; .* come from its prompts"):
            apm_tta.load_method(name, copy.copy(prompted), classes=CLASSES)


def test_a_run_with_prompts_says_so(teacher: LazyTeacher, vectors: Tensor, tmp_path: Path) -> None:
    """In its identity, its caption, a column and its command; without them, or with others, it is another run."""
    torch.save({"ctx": vectors}, tmp_path / "prompts.pt")
    options: dict[str, Any] = {"methods": "zeroshot", "corruptions": "", "limit": 20, "quiet": True}
    run = apm_tta.run("demo", **options, prompts=tmp_path / "prompts.pt", out=tmp_path / "run")
    stated = read_context(tmp_path / "prompts.pt").identity
    assert stated.startswith("4 vectors before the name, sha256 ")
    assert run.manifest.numbers.teacher.classifier == "prompts"
    assert run.manifest.numbers.teacher.others["prompts"] == stated
    short = stated[: -(64 - 12)]
    assert set(run.results["prompts"]) == {short}
    assert f"class weights from prompts ({short}); templates: none" in run.report().text
    assert run.manifest.command[-2:] == ("--prompts", str(tmp_path / "prompts.pt"))
    with pytest.raises(UserError, match="holds another run"):
        apm_tta.run("demo", **options, out=tmp_path / "run")


def test_a_method_of_such_a_run_is_loaded_with_its_prompts(
    teacher: LazyTeacher, vectors: Tensor, tmp_path: Path
) -> None:
    """From where they lay, and refused in a line where other ones lie there now."""
    path = tmp_path / "prompts.pt"
    torch.save({"ctx": vectors}, path)
    options: dict[str, Any] = {"methods": "zeroshot,tpt", "corruptions": "", "limit": 10, "quiet": True}
    settings = {"tpt": {"views": 4}}
    run = apm_tta.run("demo", **options, settings=settings, prompts=path, out=tmp_path / "run", devices="cpu")
    dataset = open_dataset("fashion-mnist", limit=10)
    entries = dataset.entries(CLEAN)
    images = [dataset.read(entry, CLEAN).image for entry in entries]
    for name in ("zeroshot", "tpt"):
        answers = run.answers(method=name).set_index("id").prediction
        loaded = run.load_method(name, device="cpu")
        again = loaded(images, [entry.id for entry in entries]).table["prediction"]
        assert again.tolist() == [answers[entry.id] for entry in entries]
    torch.save({"ctx": vectors + 1}, path)
    with pytest.raises(UserError, match=r"^teacher embedded-resnet is not the run's: its prompts differ$"):
        run.load_method("zeroshot")
    path.unlink()
    with pytest.raises(UserError, match="there is no such file"):
        run.load_method("zeroshot")
