"""ImageNet-C's tree: every image gets its synset's label, and any other tree is refused."""

from __future__ import annotations

import io
import os
import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apm_tta.data.cards import DatasetCard, load_card
from apm_tta.data.class_lists import imagenet_1k
from apm_tta.data.dataset import Dataset
from apm_tta.data.layouts import CorruptionTreeLayout
from apm_tta.data.sample import CLEAN, Condition
from apm_tta.errors import UserError

SYNSETS = imagenet_1k().folders
FOG = Condition("fog", 3)


def picture(size: tuple[int, int] = (8, 6), colour: str = "teal") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "JPEG")
    return buffer.getvalue()


def class_folders(folder: Path, names: Iterable[str]) -> None:
    """Make the class folders, in no particular order."""
    shuffled = list(names)
    random.Random(4).shuffle(shuffled)
    folder.mkdir(parents=True)
    for name in shuffled:
        (folder / name).mkdir()


def fill(folder: Path, names: Iterable[str]) -> None:
    """Put one image into each class: one file, linked a thousand times."""
    first = None
    for name in names:
        path = folder / name / f"ILSVRC2012_val_{SYNSETS.index(name):08d}.JPEG"
        if first is None:
            path.write_bytes(picture())
            first = path
        else:
            os.link(first, path)


@pytest.fixture(scope="module")
def card() -> DatasetCard:
    """Return ImageNet-C's own card, reduced to one image per class."""
    return load_card("imagenet-c").model_copy(update={"images": 1000, "images_per_class": 1})


@pytest.fixture(scope="module")
def good_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the released tree under one condition, with files that unpacking may leave beside the images."""
    root = tmp_path_factory.mktemp("imagenet-c")
    folder = root / "fog" / "3"
    class_folders(folder, SYNSETS)
    fill(folder, SYNSETS)
    (folder / "SHA256SUMS").write_text("not a class folder")
    (folder / SYNSETS[7] / "README.txt").write_text("not an image")
    return root


def test_every_image_has_the_label_of_its_synset(card: DatasetCard, good_root: Path) -> None:
    """The label is the position of the folder in ImageNet's list, whatever the order of the file system."""
    entries = CorruptionTreeLayout(card, good_root).entries(FOG)
    assert len(entries) == 1000
    assert [entry.label for entry in entries] == list(range(1000))
    for entry in entries:
        corruption, severity, synset, file = entry.id.split("/")
        assert (corruption, severity) == ("fog", "3")
        assert SYNSETS[entry.label] == synset
        assert file == f"ILSVRC2012_val_{entry.label:08d}.JPEG"
    by_synset = {entry.id.split("/")[2]: entry.label for entry in entries}
    assert (by_synset["n01440764"], by_synset["n02123045"]) == (0, 281)


def test_an_id_is_the_path_below_the_root(card: DatasetCard, good_root: Path) -> None:
    """It is the same on every machine: it contains no part of the root."""
    for entry in CorruptionTreeLayout(card, good_root).entries(FOG)[::97]:
        assert (good_root / entry.id).is_file()
        assert not entry.id.startswith("/")


def test_reads_the_stored_image_as_it_is(card: DatasetCard, good_root: Path) -> None:
    """The image on disk is corrupted already: it must not be corrupted again."""
    dataset = Dataset(card, good_root)
    entry = dataset.entries(FOG)[281]
    sample = dataset.read(entry, FOG)
    assert entry.label == 281
    assert (sample.image.mode, sample.image.size) == ("RGB", (8, 6))
    assert np.array_equal(np.asarray(sample.image), np.asarray(Image.open(good_root / entry.id)))


def test_a_limit_takes_images_of_that_many_classes(card: DatasetCard, good_root: Path) -> None:
    labels = Counter(entry.label for entry in Dataset(card, good_root, limit=250).entries(FOG))
    assert len(labels) == 250
    assert set(labels.values()) == {1}


def test_images_of_one_class_are_in_the_order_of_their_names(tmp_path: Path) -> None:
    """Two classes show the order within a class; any of the usual suffixes marks an image."""
    few = {"images": 5, "images_per_class": None, "classes": ("zebra", "ant"), "class_count": 2}
    card = load_card("imagenet-c").model_copy(update=few)
    for name in ("zebra/b.JPEG", "zebra/a.jpg", "ant/9.png", "zebra/c.jpeg", "ant/10.png"):
        path = tmp_path / "fog" / "3" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture())
    entries = CorruptionTreeLayout(card, tmp_path).entries(FOG)
    assert [(entry.id.removeprefix("fog/3/"), entry.label) for entry in entries] == [
        ("zebra/a.jpg", 0),
        ("zebra/b.JPEG", 0),
        ("zebra/c.jpeg", 0),
        ("ant/10.png", 1),
        ("ant/9.png", 1),
    ]


def test_grey_images_are_read_as_rgb(card: DatasetCard, tmp_path: Path) -> None:
    Image.new("L", (5, 5), 77).save(tmp_path / "grey.JPEG")
    image = CorruptionTreeLayout(card, tmp_path).read("grey.JPEG").image
    assert image.mode == "RGB"
    assert image.getpixel((2, 2)) == (77, 77, 77)


def refusal(card: DatasetCard, root: Path | None, condition: Condition = FOG) -> UserError:
    with pytest.raises(UserError) as caught:
        CorruptionTreeLayout(card, root).entries(condition)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("given", [False, True], ids=["no-root", "root-does-not-exist"])
def test_without_a_root_the_message_states_the_tree_and_how_to_get_it(
    card: DatasetCard, tmp_path: Path, given: bool
) -> None:
    message = str(refusal(card, tmp_path / "nowhere" if given else None))
    assert card.tree in message
    assert card.get in message
    assert (str(tmp_path / "nowhere") if given else "--data-root") in message


def test_a_root_that_is_a_file_is_refused(card: DatasetCard, tmp_path: Path) -> None:
    (tmp_path / "blur.tar").touch()
    assert str(tmp_path / "blur.tar") in str(refusal(card, tmp_path / "blur.tar"))


def test_a_missing_condition_is_named(card: DatasetCard, good_root: Path) -> None:
    for condition, place in ((Condition("fog", 4), "fog/4"), (Condition("snow", 3), "snow/3")):
        message = str(refusal(card, good_root, condition))
        assert str(good_root / place) in message
        assert card.tree in message
        assert card.get in message


def test_the_clean_condition_is_refused(card: DatasetCard, good_root: Path) -> None:
    error = refusal(card, good_root, CLEAN)
    assert "imagenet-c has no clean images" in str(error)
    assert error.exit_code == 2


def test_a_missing_class_folder_is_named(card: DatasetCard, tmp_path: Path) -> None:
    class_folders(tmp_path / "fog" / "3", [synset for synset in SYNSETS if synset != "n02123045"])
    message = str(refusal(card, tmp_path))
    assert "999 class folders, expected 1,000: missing n02123045" in message
    assert "surplus" not in message
    assert str(tmp_path / "fog" / "3") in message


def test_a_surplus_class_folder_is_named(card: DatasetCard, tmp_path: Path) -> None:
    class_folders(tmp_path / "fog" / "3", [*SYNSETS, "n99999999"])
    message = str(refusal(card, tmp_path))
    assert "1,001 class folders, expected 1,000: surplus n99999999" in message
    assert "missing" not in message


def test_another_data_set_with_the_same_number_of_classes_is_refused(card: DatasetCard, tmp_path: Path) -> None:
    """Folders 0 .. 999, as in ImageNet-V2: sorted as strings they would be labelled wrongly."""
    class_folders(tmp_path / "fog" / "3", [str(number) for number in range(1000)])
    message = str(refusal(card, tmp_path))
    assert "n01440764, n01443537, n01484850 and 997 more" in message
    assert "surplus 0, 1, 10 and 997 more" in message


def test_a_surplus_image_is_refused(card: DatasetCard, tmp_path: Path) -> None:
    folder = tmp_path / "fog" / "3"
    class_folders(folder, SYNSETS)
    fill(folder, SYNSETS)
    (folder / SYNSETS[3] / "ILSVRC2012_val_00099999.JPEG").write_bytes(picture())
    message = str(refusal(card, tmp_path))
    assert f"{folder} has 1 class without exactly 1 image: {SYNSETS[3]} has 2" in message
    assert f"{folder} has 1,001 images, expected 1,000" in message


def test_a_class_without_an_image_is_refused_by_name(card: DatasetCard, tmp_path: Path) -> None:
    folder = tmp_path / "fog" / "3"
    class_folders(folder, SYNSETS)
    fill(folder, SYNSETS[:-1])
    message = str(refusal(card, tmp_path))
    assert f"{folder} has 1 class folder without an image: {SYNSETS[-1]}" in message


@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param(picture((300, 300))[:2000], id="cut-short"),
        pytest.param(picture()[:30], id="header-only"),
        pytest.param(b"", id="empty"),
        pytest.param(b"<html>404</html>", id="web-page"),
        pytest.param(None, id="missing"),
    ],
)
def test_a_damaged_image_is_refused_by_name(card: DatasetCard, tmp_path: Path, damaged: bytes | None) -> None:
    path = tmp_path / "fog" / "3" / SYNSETS[0] / "a.JPEG"
    path.parent.mkdir(parents=True)
    if damaged is not None:
        path.write_bytes(damaged)
    with pytest.raises(UserError, match="is missing" if damaged is None else "not a readable image") as caught:
        CorruptionTreeLayout(card, tmp_path).read(path.relative_to(tmp_path).as_posix())
    assert str(path) in str(caught.value)
