"""Invalid arrays, split files, mappings and class lists are refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from apm_tta.data.cards import DatasetCard, load_card
from apm_tta.data.check import check
from apm_tta.data.dataset import Dataset
from apm_tta.data.sample import CLEAN, Condition


def problems(card: DatasetCard, root: Path, deep: bool = False) -> list[str]:
    report = check(card, root, deep)
    assert not report.passed
    assert all("\n" not in problem for problem in report.problems)
    assert card.get in "\n".join(report.lines())
    return report.problems


def lines_of(card: DatasetCard, root: Path) -> str:
    return " | ".join(problems(card, root))


def test_an_array_that_is_cut_short_is_refused(tmp_path: Path, trees: Any) -> None:
    made = trees.cifar_corrupted(tmp_path)
    path = tmp_path / "snow.npy"
    path.write_bytes(path.read_bytes()[:-1])
    assert "snow.npy is not a complete .npy file" in lines_of(made.card, tmp_path)
    assert Dataset(made.card, tmp_path).entries(Condition("fog", 3))


def test_an_array_of_one_severity_is_refused(tmp_path: Path, trees: Any) -> None:
    made = trees.cifar_corrupted(tmp_path)
    np.save(tmp_path / "snow.npy", np.load(tmp_path / "snow.npy")[:20])
    says = "snow.npy is uint8 (20, 32, 32, 3), expected uint8 (100, 32, 32, 3): 20 images at each of severities 1 to 5"
    assert says in lines_of(made.card, tmp_path)


def test_labels_that_differ_between_severities_are_refused(tmp_path: Path, trees: Any) -> None:
    made = trees.cifar_corrupted(tmp_path)
    labels = np.load(tmp_path / "labels.npy")
    labels[[60, 61]] = labels[[61, 60]]
    np.save(tmp_path / "labels.npy", labels)
    assert "does not repeat the same labels" in lines_of(made.card, tmp_path)


def test_an_array_of_python_objects_is_refused_unread(tmp_path: Path, trees: Any) -> None:
    made = trees.cifar101(tmp_path)
    np.save(tmp_path / "cifar10.1_v6_labels.npy", np.array([{"a": 1}] * 30, dtype=object), allow_pickle=True)
    assert "labels.npy holds Python objects, not an array of numbers" in lines_of(made.card, tmp_path)


def test_as_many_images_as_labels_are_expected(tmp_path: Path, trees: Any) -> None:
    made = trees.cifar101(tmp_path)
    np.save(tmp_path / "cifar10.1_v6_labels.npy", np.zeros(29, dtype=np.int32))
    assert "expected uint8 (29, 32, 32, 3): an image for each label" in lines_of(made.card, tmp_path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"test": [["a.jpg", 0]]}', "is not a split of [path, label, class name]"),
        ("not json", "is not a split of [path, label, class name]"),
        ('{"test": [["a.jpg", "0", "x"]]}', "is not a split of [path, label, class name]"),
        ('{"test": [["a.jpg", true, "x"]]}', "is not a split of [path, label, class name]"),
        ('{"test": [["a.jpg", 0.0, "x"]]}', "is not a split of [path, label, class name]"),
        ('{"train": [["a.jpg", 0, "x"]]}', "lists no test images"),
        ('{"test": [["../../etc/passwd", 0, "x"]]}', "leads out of the image folder"),
        ('{"test": [["/etc/passwd", 0, "x"]]}', "leads out of the image folder"),
        ('{"test": [["a.jpg", 0, "x"], ["b.jpg", 0, "y"]]}', "calls class 0 'x' and 'y'"),
        ('{"test": [["a.jpg", 0, "x"], ["b.jpg", 2, "y"]]}', "labels 0 to 2 but 2 classes"),
        ('{"test": [["a.jpg", 0, "x"], ["a.jpg", 1, "y"]]}', "lists a test image twice"),
        (
            '{"test": [["all/gone.jpg", 0, "x"]]}',
            "lacks 1 image that split_zhou_OxfordPets.json lists: images/all/gone",
        ),
    ],
)
def test_a_wrong_split_file_is_refused(content: str, says: str, tmp_path: Path, trees: Any) -> None:
    made = trees.coop(tmp_path, "oxford_pets")
    (tmp_path / "split_zhou_OxfordPets.json").write_text(content)
    assert says in lines_of(made.card, tmp_path)


def test_a_split_of_another_number_of_classes_is_refused(tmp_path: Path, trees: Any) -> None:
    trees.coop(tmp_path, "oxford_pets")
    found = lines_of(load_card("oxford_pets"), tmp_path)
    assert "names 3 classes, expected 37" in found
    assert "has 6 images, expected 3,669" in found


def test_a_variant_that_variants_txt_lacks_is_refused(tmp_path: Path, trees: Any) -> None:
    made = trees.aircraft(tmp_path)
    (tmp_path / "variants.txt").write_text("A300B4\nF/A-18\n")
    assert "line 1: 'DC-9-30' is not a variant of variants.txt" in lines_of(made.card, tmp_path)


def test_a_test_image_that_is_listed_twice_is_refused(tmp_path: Path, trees: Any) -> None:
    """The number of lines may still be right: the one of another image is missing."""
    made = trees.aircraft(tmp_path)
    path = tmp_path / "images_variant_test.txt"
    path.write_text(path.read_text().replace("0034310 A300B4", "0034309 DC-9-30"))
    assert "images_variant_test.txt lists a test image twice" in lines_of(made.card, tmp_path)


def test_a_line_of_classes_with_two_tabs_is_refused(tmp_path: Path, trees: Any) -> None:
    made = trees.folder(tmp_path, "zebra\tzebra\tstriped\nant_hill\n")
    assert "classes.txt, class 1: more than one tab" in lines_of(made.card, tmp_path)


@pytest.mark.parametrize("labels", [np.array(["a"] * 100), np.zeros(100), np.zeros((100, 2), np.int64)], ids=str)
def test_labels_of_another_kind_are_refused_in_one_line(labels: np.ndarray, tmp_path: Path, trees: Any) -> None:
    """By every card that could be the tree's."""
    made = trees.cifar_corrupted(tmp_path)
    np.save(tmp_path / "labels.npy", labels)
    assert "expected one integer per image" in lines_of(made.card, tmp_path)


@pytest.mark.parametrize("order", [">i4", "<i8", "|u1", ">u8"])
def test_labels_of_every_integer_type_and_images_in_any_order_of_memory_are_read(
    order: str, tmp_path: Path, trees: Any
) -> None:
    made = trees.cifar101(tmp_path)
    names = [str(made.card.layout_options[name]) for name in ("data", "labels")]
    images, labels = (np.load(tmp_path / name) for name in names)
    images[..., 5, 1] += np.arange(32, dtype=np.uint8)
    expected = {}
    for fortran in (False, True):
        np.save(tmp_path / names[0], np.asfortranarray(images) if fortran else images)
        np.save(tmp_path / names[1], labels.astype(order))
        dataset = Dataset(made.card, tmp_path)
        found = {entry.id: (entry.label, dataset.read(entry, CLEAN)) for entry in dataset.entries(CLEAN)}
        assert [label for label, _ in found.values()] == labels.tolist()
        for row, (_, read) in enumerate(found.values()):
            assert np.array_equal(np.asarray(read.image), images[row])
        digests = {name: read.sha256 for name, (_, read) in found.items()}
        assert expected in ({}, digests)
        expected = digests


@pytest.mark.parametrize("kind", [np.int8, np.uint16, np.float32, np.bool_])
def test_images_of_another_type_are_refused(kind: Any, tmp_path: Path, trees: Any) -> None:
    made = trees.cifar101(tmp_path)
    name = str(made.card.layout_options["data"])
    np.save(tmp_path / name, np.load(tmp_path / name).astype(kind))
    assert f"is {np.dtype(kind)} (30, 32, 32, 3), expected uint8 (30, 32, 32, 3)" in lines_of(made.card, tmp_path)


def test_a_mapping_of_objectnet_that_is_damaged_or_missing_is_refused(tmp_path: Path, trees: Any) -> None:
    made = trees.objectnet(tmp_path)
    mapping = tmp_path / "mappings" / "objectnet_to_imagenet_1k.json"
    mapping.write_text('{"TV": 3}')
    assert "is not a JSON object of names to names" in lines_of(made.card, tmp_path)
    mapping.unlink()
    assert "objectnet_to_imagenet_1k.json cannot be read" in lines_of(made.card, tmp_path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("0\n1\n10\n2\n", "lists integer folders in text order (0, 1, 10, 2, ...), not in numerical order"),
        ("0\n1\n1\n", "class 3: '1' appears twice"),
        ("../x\n", "is not the name of a folder"),
        ("\n", "names no class"),
        ("0\n1\n2\n", "has 4 class folders, expected 3: surplus 10"),
        ("0\n1\n2\n10\n11\n", "has 4 class folders, expected 5: missing 11"),
    ],
)
def test_a_wrong_class_list_is_refused(content: str, says: str, tmp_path: Path, trees: Any) -> None:
    made = trees.class_folders(tmp_path, "folder", dict.fromkeys(("0", "1", "2", "10"), 0))
    (tmp_path / "classes.txt").write_text(content)
    assert says in lines_of(made.card, tmp_path)
    (tmp_path / "classes.txt").write_text("0\n1\n2\n10\tten apples\n")
    assert check(made.card, tmp_path).passed
    assert Dataset(made.card, tmp_path).classes[3] == "ten apples"
