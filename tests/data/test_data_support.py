"""Support images have the right labels, are chosen by a fixed rule, and are never test images."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apm_tta.data.cards import load_card
from apm_tta.data.dataset import Dataset
from apm_tta.data.sample import CLEAN
from apm_tta.data.support_images import SupportImages
from apm_tta.errors import UserError

CLASSES = ("ant", "bee", "cat")


def fill(root: Path, images: int, seed: int) -> Path:
    """Write one folder per class; the first pixel of an image encodes its class."""
    rng = np.random.default_rng(seed)
    for label, name in enumerate(CLASSES):
        (root / name).mkdir(parents=True)
        for index in range(images):
            pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            pixels[0, 0] = label
            Image.fromarray(pixels).save(root / name / f"{index}.png")
    return root


@pytest.fixture
def tested(tmp_path: Path) -> Dataset:
    return Dataset(load_card("folder"), fill(tmp_path / "test", 4, seed=0))


def test_every_class_has_its_shots_with_its_label(tmp_path: Path, tested: Dataset) -> None:
    support = SupportImages(fill(tmp_path / "train", 6, seed=1), tested, shots=2)
    labels = [label for _, label in support]
    assert labels == [0, 0, 1, 1, 2, 2]
    assert [np.asarray(image)[0, 0, 0] for image, _ in support] == labels
    again = SupportImages(tmp_path / "train", tested, shots=2)
    assert again.entries == support.entries
    assert again.fingerprint == support.fingerprint
    more = SupportImages(tmp_path / "train", tested, shots=4)
    assert set(support.entries) < set(more.entries), "fewer shots are a subset of more"


def test_the_fingerprint_is_of_the_contents(tmp_path: Path, tested: Dataset) -> None:
    before = SupportImages(fill(tmp_path / "train", 2, seed=1), tested, shots=2).fingerprint
    Image.new("RGB", (8, 8)).save(tmp_path / "train" / "ant" / "0.png")
    assert SupportImages(tmp_path / "train", tested, shots=2).fingerprint != before


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda root: shutil.rmtree(root / "bee"), "missing bee"),
        (lambda root: (root / "cat" / "1.png").unlink(), "fewer than 2 shots"),
        (shutil.rmtree, "is not a folder"),
    ],
)
def test_an_invalid_support_is_refused(tmp_path: Path, tested: Dataset, mistake, message: str) -> None:  # type: ignore[no-untyped-def]
    root = fill(tmp_path / "train", 2, seed=1)
    mistake(root)
    with pytest.raises(UserError, match=message):
        SupportImages(root, tested, shots=2)


def test_folders_of_other_classes_are_not_used_and_that_is_said(tmp_path: Path, tested: Dataset) -> None:
    """ImageNet's training folder serves ImageNet-A, which has 200 of its classes."""
    root = fill(tmp_path / "train", 2, seed=1)
    expected = SupportImages(root, tested, shots=2).entries
    assert tested.doubts == []
    shutil.copytree(root / "ant", root / "dog")
    assert SupportImages(root, tested, shots=2).entries == expected
    assert tested.doubts == [f"--support {root}: 1 folder is no class of folder and not used (dog)"]


def test_files_of_the_support_that_are_not_used_are_counted(tmp_path: Path, tested: Dataset) -> None:
    root = fill(tmp_path / "train", 2, seed=1)
    shutil.copytree(root / "ant", root / "bee" / "more")
    SupportImages(root, tested, shots=2)
    (doubt,) = tested.doubts
    assert doubt.startswith(
        f"--support: 2 files below {root} are not used: 2 in folders below a class folder (bee/more"
    )


@pytest.mark.parametrize("kind", ["png", "bmp"])
def test_a_support_picture_in_two_classes_is_named(kind: str, tmp_path: Path, tested: Dataset) -> None:
    root = fill(tmp_path / "train", 2, seed=1)
    with Image.open(root / "ant" / "0.png") as image:
        image.save(root / "bee" / f"9.{kind}")
    (root / "bee" / "1.png").unlink()
    support = SupportImages(root, tested, shots=2)
    for _ in range(2):
        assert len(list(support)) == 6
        (doubt,) = tested.doubts
        assert doubt.startswith(f"--support {root}: 1 picture is in two classes, such as ant/0.png and bee/9.{kind}")


def test_the_tested_folder_is_refused_as_support(tmp_path: Path, tested: Dataset) -> None:
    with pytest.raises(UserError, match="share a folder"):
        SupportImages(tmp_path / "test", tested, shots=2)
    (tmp_path / "alias").symlink_to(tmp_path / "test")
    with pytest.raises(UserError, match="share a folder"):
        SupportImages(tmp_path / "alias", tested, shots=2)


def test_a_tested_image_among_the_support_is_named(tmp_path: Path, tested: Dataset) -> None:
    """A copy of the test split under another name is the commonest way to leak labels."""
    root = fill(tmp_path / "train", 4, seed=1)
    SupportImages(root, tested, shots=4)
    entry = tested.entries(CLEAN)[5]
    shutil.copy(tmp_path / "test" / entry.id, root / entry.id)
    with pytest.raises(UserError, match=f"contains a test image: {entry.id}"):
        SupportImages(root, tested, shots=4)


def test_a_tested_image_is_found_under_another_name_and_in_another_class(tmp_path: Path, tested: Dataset) -> None:
    root = fill(tmp_path / "train", 4, seed=1)
    entry = tested.entries(CLEAN)[0]
    (root / "cat" / "0.png").unlink()
    shutil.copy(tmp_path / "test" / entry.id, root / "cat" / "renamed.png")
    with pytest.raises(UserError, match=rf"contains a test image: cat/renamed\.png is .*{entry.id}; remove it"):
        SupportImages(root, tested, shots=4)


def test_synsets_or_names_may_be_the_folders(tmp_path: Path, shared: Path) -> None:
    """ImageNet's training folder uses synsets; the real sample has all of its classes."""
    sample = Dataset(load_card("imagenet-part"), shared / "data" / "imagenet-sample" / "val")
    synsets = sample.layout.class_list().folders
    picture = tmp_path / "0.png"
    Image.new("RGB", (8, 8)).save(picture)
    for name in synsets:
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "train" / name / "0.png").hardlink_to(picture)
    support = SupportImages(tmp_path / "train", sample, shots=1)
    assert [entry.label for entry in support.entries] == list(range(1000))
    assert support.entries[281].id == "n02123045/0.png"
