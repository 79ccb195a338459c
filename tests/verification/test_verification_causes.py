"""Each usual mistake is planted in a run of which a right one is known: it is named, and nothing on the right run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from planted import SHARE, TEMPLATE, Pictures, answers, folder_of, label_by
from safetensors.torch import save_file

import apm_tta
from apm_tta.data.dataset import open_dataset
from apm_tta.registry import Registry
from apm_tta.teachers import load_teacher
from apm_tta.teachers.embedded import FOLDERS
from apm_tta.verification import compare
from apm_tta.verification.causes import CAUSES, Attempt, Cause
from apm_tta.verification.setup import Case, teacher_setup
from apm_tta.verification.verdict import RowVerdict


def verdict_of(root: Path, published: Path, limit: int = 0) -> RowVerdict:
    (verdict,) = apm_tta.verify("embedded", "folder", limit, root, published=published, device="cpu").rows
    return verdict


def assert_named(verdict: RowVerdict, cause: str, what: str) -> None:
    """Check that the planted cause comes first, and gives the right run's accuracy to the last answer."""
    assert verdict.outcome == "outside"
    first = verdict.tried[0]
    assert (first.cause, first.what) == (cause, what)
    assert first.inside
    assert first.tally.accuracy == SHARE
    assert {each.cause for each in verdict.explanations if each.tally.accuracy == SHARE} == {cause}


def test_a_right_run_is_inside_and_nothing_is_tried(
    pictures: Pictures, reference: Callable[..., Path], tmp_path: Path
) -> None:
    root = pictures.write(tmp_path / "tree")
    for limit in (0, 30, 60, 90):
        verdict = verdict_of(root, reference(SHARE), limit)
        assert (verdict.outcome, verdict.tried) == ("inside", ()), limit
        assert verdict.tally is not None
        assert verdict.tally.images == (limit or len(pictures.images))
    assert verdict_of(root, reference(SHARE)).tally.accuracy == SHARE  # type: ignore[union-attr]


def test_templates(pictures: Pictures, reference: Callable[..., Path], tmp_path: Path) -> None:
    bare = tmp_path / "bare.txt"
    bare.write_text("{}\n", encoding="utf-8")
    verdict = verdict_of(pictures.write(tmp_path / "tree"), reference(SHARE, templates=str(bare)))
    assert_named(verdict, "templates", f"{TEMPLATE!r} (the data set's own)")


def test_class_names(pictures: Pictures, reference: Callable[..., Path], tmp_path: Path) -> None:
    """The list beside the folders has words that the teacher does not know; the folders are the right names."""
    folders = [name.replace("/", " ") for name in pictures.names]
    root = pictures.write(tmp_path / "tree")
    for label, name in enumerate(folders):
        (root / folder_of(label)).rename(root / name)
    strange = ("kot", "hose", "pulli", "rock", "mantel", "schuh", "hemd", "turn", "sack", "stiefel")
    lines = [f"{folder}\t{word}" for folder, word in zip(folders, strange, strict=True)]
    (root / "classes.txt").write_text("\n".join(lines), encoding="utf-8")
    assert_named(verdict_of(root, reference(SHARE)), "class names", "raw folder names")


def test_order_of_labels(pictures: Pictures, reference: Callable[..., Path], tmp_path: Path) -> None:
    """Folders were numbered 1, 10, 2, ... where the list of names has the classes in their own order."""
    as_text = sorted(range(len(pictures.names)), key=lambda label: str(label + 1))
    lines = [f"{folder_of(number)}\t{pictures.names[label]}" for label, number in enumerate(as_text)]
    verdict = verdict_of(pictures.write(tmp_path / "tree", lines), reference(SHARE))
    assert verdict.tried[0].cause == "order of labels"
    assert "numbers from 1 sorted as text (1, 10, 100, 2)" in verdict.tried[0].what
    assert_named(verdict, "order of labels", verdict.tried[0].what)


@pytest.mark.parametrize(
    ("preprocess", "cause", "what"),
    [
        ({"resize_mode": "squash"}, "resize and crop", "shorter side resized, center crop"),
        ({"interpolation": "bilinear"}, "interpolation", "bicubic interpolation"),
    ],
)
def test_resizing(
    preprocess: dict[str, Any],
    cause: str,
    what: str,
    pictures: Pictures,
    faulty_teacher: Callable[..., None],
    reference: Callable[..., Path],
    tmp_path: Path,
) -> None:
    root = pictures.write(tmp_path / "tree")
    faulty_teacher(preprocess=preprocess)
    assert_named(verdict_of(root, reference(SHARE)), cause, what)


@pytest.fixture
def drawn_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Draw the weights of a small open_clip model, which has a name with QuickGELU and one without."""
    small = json.loads((FOLDERS["embedded"] / "open_clip_config.json").read_text(encoding="utf-8"))["model_cfg"]
    for name, quick in (("drawn", False), ("drawn-quickgelu", True)):
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, {**small, "quick_gelu": quick})
    torch.manual_seed(2)
    model = open_clip.CLIP(**small, quick_gelu=True)
    # As drawn, networks answer every image alike; larger weights tell images apart, and activations.
    weights = {name: 3 * value if value.ndim > 1 else value for name, value in model.state_dict().items()}
    save_file(weights, tmp_path / "drawn.safetensors")
    return tmp_path / "drawn.safetensors"


def test_activation(pictures: Pictures, drawn_weights: Path, reference: Callable[..., Path], tmp_path: Path) -> None:
    """Weights of a network with QuickGELU are run with GELU, as nobody can see of a file."""
    right = f"drawn-quickgelu:{drawn_weights}"
    labelled = label_by(right, pictures.images, pictures.names)
    root = labelled.write(tmp_path / "tree")
    for teacher, outcome in ((right, "inside"), (f"drawn:{drawn_weights}", "outside")):
        published = reference(SHARE, teacher=teacher)
        (verdict,) = apm_tta.verify(teacher, "folder", 0, root, published=published, device="cpu").rows
        assert verdict.outcome == outcome
    assert_named(verdict, "activation", "QuickGELU in place of its own activation")


def test_the_other_activation_is_that_of_the_architecture_of_the_other_name(drawn_weights: Path) -> None:
    """In both towers, to the last bit, and in either direction."""
    dataset = open_dataset("fashion-mnist", limit=4)
    pixels = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    names = dataset.classes
    for own, other in (("drawn", "drawn-quickgelu"), ("drawn-quickgelu", "drawn")):
        teacher, expected = (load_teacher(f"{name}:{drawn_weights}") for name in (own, other))
        (attempt,) = CAUSES.get("activation")(Case(teacher_setup(teacher, dataset, (TEMPLATE,), names), dataset))
        changed = attempt.setup.network.teacher
        with torch.no_grad():
            assert torch.equal(changed.encode_image(pixels), expected.encode_image(pixels))
            assert not torch.equal(changed.encode_image(pixels), teacher.encode_image(pixels))
        assert torch.equal(changed.class_weights(names, [TEMPLATE]), expected.class_weights(names, [TEMPLATE]))


def test_normalization(pictures: Pictures, reference: Callable[..., Path], tmp_path: Path) -> None:
    """The embedded teacher's constants are nobody else's: the published number was made with CLIP's."""
    own = PreprocessCfg(32, mean=open_clip.OPENAI_DATASET_MEAN, std=open_clip.OPENAI_DATASET_STD)
    made = answers(pictures.images, pictures.names, image_transform_v2(own, is_train=False))
    accuracy = 100 * sum(map(int.__eq__, made, pictures.labels)) / len(made)
    verdict = verdict_of(pictures.write(tmp_path / "tree"), reference(accuracy))
    assert verdict.outcome == "outside"
    assert (verdict.tried[0].cause, verdict.tried[0].what) == ("normalization", "CLIP's mean and deviation")
    assert verdict.tried[0].tally.accuracy == accuracy


def test_two_mistakes_at_once_are_named_as_a_pair(
    pictures: Pictures, reference: Callable[..., Path], tmp_path: Path
) -> None:
    """Bare names, and a list of classes that is shifted by one; no image is encoded again for pairs."""
    bare = tmp_path / "bare.txt"
    bare.write_text("{}\n", encoding="utf-8")
    lines = [f"{folder_of(label)}\t{pictures.names[(label + 1) % 10]}" for label in range(10)]
    root, published = pictures.write(tmp_path / "tree", lines), reference(SHARE, templates=str(bare))
    found = apm_tta.verify("embedded", "folder", 0, root, published=published, device="cpu")
    (verdict,) = found.rows
    first = verdict.tried[0]
    assert first.cause == "order of labels together with templates"
    assert first.what == f"labels one too high; {TEMPLATE!r} (the data set's own)"
    assert first.tally.accuracy == SHARE
    assert {" together with " in each.cause for each in verdict.explanations} == {True}, "none alone is inside"
    text = "\n".join(found.lines())
    assert "no single cause brings it inside; inside with another choice of order of labels together with temp" in text
    crops = {each.what for each in verdict.tried if each.cause in ("resize and crop", "interpolation", "normalization")}
    networks = {each.what for each in verdict.tried if each.cause == "activation"}
    assert found.encoded <= len(pictures.images) * (1 + len(crops) + len(networks))


def test_where_no_cause_helps_all_that_was_tried_is_told(
    pictures: Pictures, reference: Callable[..., Path], tmp_path: Path
) -> None:
    root = pictures.write(tmp_path / "tree")
    found = apm_tta.verify("embedded", "folder", 40, root, published=reference(99.9), device="cpu")
    (verdict,) = found.rows
    assert verdict.explanations == ()
    assert {each.cause for each in verdict.tried} == set(CAUSES.names())
    text = "\n".join(found.lines())
    assert "none of the usual causes brings it inside" in text
    assert all(each.what in text for each in verdict.tried)
    assert found.exit_code == 3


def test_words_and_labels_read_no_image_again(
    pictures: Pictures, reference: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the causes on the image side, every image is encoded once for all that is tried."""
    few: Registry[Cause] = Registry("cause")
    for name in ("templates", "class names", "order of labels"):
        few.register(name)(CAUSES.get(name))
    monkeypatch.setattr(compare, "CAUSES", few)
    root = pictures.write(tmp_path / "tree")
    found = apm_tta.verify("embedded", "folder", 0, root, published=reference(99.9), device="cpu")
    assert len(found.rows[0].tried) >= 15
    assert found.encoded == len(pictures.images)


def test_a_cause_from_outside_needs_nothing_but_its_registration(
    pictures: Pictures, reference: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few: Registry[Cause] = Registry("cause")

    @few.register("two classes exchanged")
    def exchanged(case: Case) -> list[Attempt]:
        labels = (1, 0, *case.start.labels[2:])
        return [Attempt("the first two", replace(case.start, labels=labels))]

    monkeypatch.setattr(compare, "CAUSES", few)
    lines = [f"{folder_of(label)}\t{pictures.names[(1, 0, *range(2, 10))[label]]}" for label in range(10)]
    assert_named(
        verdict_of(pictures.write(tmp_path / "tree", lines), reference(SHARE)),
        "two classes exchanged",
        "the first two",
    )


def test_another_activation_of_the_text_tower_alone_encodes_no_image() -> None:
    """The embedded ResNet has ReLU on the image side."""
    dataset = open_dataset("fashion-mnist", limit=4)
    start = teacher_setup(load_teacher("embedded-resnet"), dataset, (TEMPLATE,), dataset.classes)
    (attempt,) = CAUSES.get("activation")(Case(start, dataset))
    assert attempt.setup.image_side == start.image_side
    assert attempt.setup.network.name
