"""ImageNet in one flat folder, with Kaggle's solution or the devkit, is read as the sorted tree is."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest
from labelled_stores import DEVKIT, PHOTOS, SYNSETS, card, content, devkit, kaggle, problems, tree

from apm_tta.data.check import check
from apm_tta.data.dataset import Dataset
from apm_tta.data.sample import CLEAN

CSV = "LOC_val_solution.csv"
TRUTH = f"{DEVKIT}/ILSVRC2012_validation_ground_truth.txt"
LISTS = {"kaggle": (kaggle, CSV, "ILSVRC/Data/CLS-LOC/val"), "devkit": (devkit, TRUTH, "val")}


@pytest.mark.parametrize("below", ["ILSVRC/Data/CLS-LOC/val", "val", ""])
def test_kaggle_s_folder_is_the_sorted_tree(below: str, tmp_path: Path) -> None:
    expected = content(tree(tmp_path / "tree"))
    assert content(kaggle(tmp_path / "flat", below)) == expected
    assert expected[0][0] == "n01440764/ILSVRC2012_val_00000003.JPEG"
    assert not problems(tmp_path / "flat")
    assert Dataset(card(), tmp_path / "flat").title == card().title


def test_the_devkit_s_integers_are_no_labels(tmp_path: Path) -> None:
    """They are ILSVRC IDs: read as labels, every image would be of another class."""
    root = devkit(tmp_path / "flat")
    assert content(root) == content(tree(tmp_path / "tree"))
    assert not problems(root)


def test_the_integers_mean_what_torchvision_takes_them_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own parser reads the same two files."""
    import torchvision.datasets.imagenet as reference

    root = devkit(tmp_path)
    monkeypatch.setattr(reference, "_verify_archive", lambda *_: None)
    monkeypatch.setattr(reference, "extract_archive", lambda _, to: Path(to, "ILSVRC2012_devkit_t12").symlink_to(
        root / "ILSVRC2012_devkit_t12", target_is_directory=True
    ))  # fmt: skip
    reference.parse_devkit_archive(root)
    synsets = reference.load_meta_file(root)[1]
    folders = {Path(sample_id).name: sample_id.partition("/")[0] for sample_id, _, _ in content(root)}
    assert [folders[each.name] for each in PHOTOS] == synsets


def change(root: Path, name: str, old: str, new: str) -> Path:
    text = (root / name).read_text()
    assert old in text
    (root / name).write_text(text.replace(old, new, 1))
    return root


@pytest.mark.parametrize(
    ("form", "old", "new", "says"),
    [
        ("kaggle", "ILSVRC2012_val_00000001,", "ILSVRC2012_val_00000002,", "lists ILSVRC2012_val_00000002 twice, in"),
        ("kaggle", "00000001,n02123045 1", "00000001,n02123046 1", "has folders that are not a class: n02123046"),
        ("kaggle", "ImageId,", "", "begins with 'PredictionString', expected 'ImageId,PredictionString'"),
        ("kaggle", ",n02123045 1 2 30 40 n02123045", ",n02123045 1 2 30 40 n01440764", ": expected image,synset and"),
        ("kaggle", "ILSVRC2012_val_00000001,", "ILSVRC2012_val_00000001 ", ": expected image,synset and box"),
        ("kaggle", "ILSVRC2012_val_00000001,", "ilsvrc2012_val_00000001,", "lists: ilsvrc2012_val_00000001"),
        ("devkit", "1\n", "0\n", "line 1: '0' is not an ILSVRC ID, 1 to 3; unpack the devkit again"),
        ("devkit", "1\n", "4\n", "line 1: '4' is not an ILSVRC ID"),
        ("devkit", "1\n", "n01440764\n", "line 1: 'n01440764' is not an ILSVRC ID"),
        ("devkit", "1\n", "1\n1\n", "lacks 1 image that ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth"),
        (
            "devkit",
            "1\n",
            "",
            "has 1 image that ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground",
        ),
    ],
)
def test_a_wrong_list_is_refused_in_one_line(form: str, old: str, new: str, says: str, tmp_path: Path) -> None:
    write, name, _ = LISTS[form]
    assert says in problems(change(write(tmp_path), name, old, new))


@pytest.mark.parametrize("form", LISTS)
def test_images_that_are_missing_or_not_listed_are_named(form: str, tmp_path: Path) -> None:
    write, name, below = LISTS[form]
    place = write(tmp_path) / below
    (place / PHOTOS[4].name).rename(place / "ILSVRC2012_val_00000099.JPEG")
    found = problems(tmp_path)
    assert f"{place} has 1 image that {name} does not list: ILSVRC2012_val_00000099.JPEG" in found
    assert f"{place} lacks 1 image that {name} lists: ILSVRC2012_val_00000005" in found


def test_a_devkit_without_its_meta_file_says_why_it_is_needed(tmp_path: Path) -> None:
    meta = devkit(tmp_path) / DEVKIT / "meta.mat"
    meta.write_bytes(meta.read_bytes()[:300])
    assert f"{meta} is not the devkit's" in problems(tmp_path)
    meta.unlink()
    assert f"{meta} is missing: the integers of ILSVRC2012_validation_ground_truth.txt are" in problems(tmp_path)


@pytest.mark.parametrize("form", LISTS)
def test_a_suffix_in_another_case_is_read(form: str, tmp_path: Path) -> None:
    write, _, below = LISTS[form]
    place = write(tmp_path) / below
    (place / PHOTOS[0].name).rename(place / "ILSVRC2012_val_00000001.jpeg")
    assert not problems(tmp_path)
    ids = [entry.id for entry in Dataset(card(), tmp_path).entries(CLEAN)]
    assert f"{PHOTOS[0].folder}/ILSVRC2012_val_00000001.jpeg" in ids


def test_a_part_of_the_images_is_enough_where_the_card_says_so(tmp_path: Path) -> None:
    place = kaggle(tmp_path) / LISTS["kaggle"][2]
    (place / PHOTOS[0].name).unlink()
    part = card("imagenet-part", images=None, images_per_class=None)
    assert len(content(tmp_path, part)) == len(PHOTOS) - 1
    assert "lacks 1 image that LOC_val_solution.csv lists: ILSVRC2012_val_00000001" in problems(tmp_path)


def test_a_sorted_tree_beside_kaggle_s_list_is_read_as_a_tree(tmp_path: Path) -> None:
    tree(tmp_path / "val")
    (kaggle(tmp_path / "other") / CSV).rename(tmp_path / CSV)
    assert Dataset(card(), tmp_path).layout.place == tmp_path / "val"
    assert {entry.id.partition("/")[0] for entry in Dataset(card(), tmp_path).entries(CLEAN)} == set(SYNSETS)


def test_both_are_read_where_they_lie_in_archives(tmp_path: Path) -> None:
    """So they are downloaded: the images in a tar, the devkit in another one, Kaggle's set in a zip."""
    expected = content(tree(tmp_path / "tree"))
    source, root = devkit(tmp_path / "source"), tmp_path / "root"
    root.mkdir()
    with tarfile.open(root / "ILSVRC2012_img_val.tar", "w") as images:
        for each in PHOTOS:
            images.add(source / "val" / each.name, each.name)
    with tarfile.open(root / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as kit:
        kit.add(source / "ILSVRC2012_devkit_t12", "ILSVRC2012_devkit_t12")
    assert content(root) == expected
    assert not problems(root)
    assert "read from 2 archives, ILSVRC2012_devkit_t12.tar.gz, ILSVRC2012_img_val.tar" in check(card(), root).notes
    (tmp_path / "zip").mkdir()
    shutil.make_archive(str(tmp_path / "zip" / "imagenet-object-localization"), "zip", kaggle(tmp_path / "kaggle"))
    assert content(tmp_path / "zip") == expected
