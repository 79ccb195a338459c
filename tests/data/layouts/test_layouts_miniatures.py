"""Every layout: a correct tree passes, each image has its label, and ids are the same on every machine."""

from __future__ import annotations

import pickle
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from apm_tta.data.check import check
from apm_tta.data.dataset import Dataset
from apm_tta.data.layouts import LAYOUTS
from apm_tta.data.sample import CLEAN, Condition

FOG = Condition("fog", 3)


def condition_of(dataset: Dataset) -> Condition:
    return FOG if dataset.card.stored_corruptions else dataset.layout.conditions()[0]


def test_every_image_has_its_label_and_shows_it(miniature: Any, trees: Any) -> None:
    dataset = Dataset(miniature.card, miniature.root)
    condition = condition_of(dataset)
    entries = dataset.entries(condition)
    assert {entry.id: entry.label for entry in entries} == miniature.labels
    assert len(entries) == len(miniature.labels)
    for entry in entries:
        sample = dataset.read(entry, condition)
        assert sample.image.mode == "RGB"
        shown = trees.label_of(sample.image)
        assert (shown % 100 if entry.id.startswith("fog/3/00") else shown) == entry.label


def test_the_tree_passes_the_check_even_when_every_image_is_decoded(miniature: Any) -> None:
    """Under the conditions of this miniature the counts are those of its images, and of classes with an image."""
    card = miniature.card
    if card.stored_corruptions:
        card = card.model_copy(update={"stored_corruptions": ("fog", "snow"), "extra_corruptions": ("snow",)})
        for severity in "1245":
            if (miniature.root / "fog").is_dir():
                shutil.copytree(miniature.root / "fog" / "3", miniature.root / "fog" / severity)
    report = check(card.model_copy(update={"downloads": ()}), miniature.root, deep=True)
    assert report.problems == []
    rows = {name: found for name, found, _ in report.rows}
    assert rows["classes"] == f"{len(set(miniature.labels.values())):,}"
    assert rows.get("images", rows.get("images per condition")) == f"{len(miniature.labels):,}"
    assert report.lines()[-1] == "everything is as expected"


def test_ids_and_fingerprint_do_not_depend_on_where_the_tree_lies(miniature: Any, tmp_path: Path) -> None:
    """Nor on whether the root is the tree, or a folder that contains it under its card's name."""
    card = miniature.card
    dataset = Dataset(card, miniature.root)
    condition = condition_of(dataset)
    elsewhere = tmp_path / "data" / (card.name if card.name != "folder" else "")
    elsewhere.parent.mkdir(exist_ok=True)
    shutil.move(miniature.root, elsewhere)
    moved = Dataset(card, tmp_path / "data")
    assert list(moved.entries(condition)) == list(Dataset(card, elsewhere).entries(condition))
    assert {entry.id: entry.label for entry in moved.entries(condition)} == miniature.labels
    again = Dataset(card, elsewhere)
    assert moved.fingerprint([condition]) == again.fingerprint([condition])


def test_a_loading_process_gets_a_copy_that_reads_the_same(miniature: Any) -> None:
    dataset = Dataset(miniature.card, miniature.root)
    condition = condition_of(dataset)
    entry = dataset.entries(condition)[-1]
    image = dataset.read(entry, condition).image
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy.read(entry, condition).image.tobytes() == image.tobytes()


def test_a_limit_takes_equally_many_of_every_class(miniature: Any) -> None:
    classes = len(set(miniature.labels.values()))
    dataset = Dataset(miniature.card, miniature.root, limit=classes)
    chosen = dataset.entries(condition_of(dataset))
    assert set(Counter(entry.label for entry in chosen).values()) == {1}
    assert len(chosen) == classes
    assert dataset.available(condition_of(dataset)) == len(miniature.labels)


def test_every_layout_has_a_miniature(trees: Any) -> None:
    """Except the one whose images the package carries."""
    from apm_tta.data.cards import card_names, load_card

    assert {load_card(name).layout for name in card_names()} == set(LAYOUTS.names())


@pytest.mark.parametrize("name", ["caltech101", "flowers102", "oxford_pets"])
def test_the_folder_names_of_coop_are_found(name: str, tmp_path: Path, trees: Any) -> None:
    """One data root for all ten data sets, as in CoOp's own instructions."""
    folder = {"caltech101": "caltech-101", "flowers102": "oxford_flowers", "oxford_pets": "oxford_pets"}[name]
    made = trees.coop(tmp_path / folder, name)
    (tmp_path / "sun397").mkdir()
    assert len(Dataset(made.card, tmp_path).entries(CLEAN)) == len(made.labels)


def test_class_names_are_written_as_coop_writes_them(tmp_path: Path, trees: Any) -> None:
    made = trees.coop(tmp_path, "oxford_pets")
    assert Dataset(made.card, tmp_path).classes == ("abyssinian", "great pyrenees", "beagle")
    assert Dataset(made.card, tmp_path).template == "a photo of a {}, a type of pet."


def test_classes_of_a_tree_are_in_the_order_that_it_states(tmp_path: Path, trees: Any) -> None:
    assert Dataset(trees.aircraft(tmp_path / "a").card, tmp_path / "a").classes == ("A300B4", "F/A-18", "DC-9-30")
    assert Dataset(trees.objectnet(tmp_path / "o").card, tmp_path / "o").classes == ("alarm clock", "banana", "tv")
    assert Dataset(trees.folder(tmp_path / "f").card, tmp_path / "f").classes == ("zebra", "ant hill")
    assert Dataset(trees.folder(tmp_path / "g", None).card, tmp_path / "g").classes == ("ant hill", "zebra")


def test_objectnet_loses_its_border_and_nothing_else(tmp_path: Path, trees: Any) -> None:
    made = trees.objectnet(tmp_path)
    dataset = Dataset(made.card, tmp_path)
    for entry in dataset.entries(CLEAN):
        image = dataset.read(entry, CLEAN).image
        assert image.size == (8, 6)
        assert len(image.getcolors()) == 1


def test_every_severity_is_read_from_its_own_rows(tmp_path: Path, trees: Any) -> None:
    """Severity s of a corruption lies in rows n (s - 1) to n s of its array."""
    made = trees.cifar_corrupted(tmp_path)
    dataset = Dataset(made.card, tmp_path)
    for severity in range(1, 6):
        condition = Condition("snow", severity)
        for entry in dataset.entries(condition):
            assert trees.label_of(dataset.read(entry, condition).image) == 100 * severity + entry.label


def test_the_title_states_which_tree_it_is_where_it_may_be_anyones(tmp_path: Path, trees: Any) -> None:
    listed, sorted_ = trees.folder(tmp_path / "mine"), trees.folder(tmp_path / "yours", None)
    assert Dataset(listed.card, listed.root).title == "Image folder (mine; classes: classes.txt)"
    expected = "Image folder (yours; classes: its folders in the order of their names)"
    assert Dataset(sorted_.card, sorted_.root).title == expected
    part = trees.class_folders(tmp_path / "part", "imagenet-part", {"n01440764": 0})
    assert "1 of the 1,000 classes" in Dataset(part.card, part.root).title
    whole = trees.by_synset(tmp_path / "a", "imagenet-a")
    assert Dataset(whole.card, whole.root).title == "ImageNet-A"
