"""What a run can use and what may yet not be as meant is said: files left aside, names that are none, twins."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from class_trees import FOLDER, doubts, picture, two_classes
from PIL import Image

from apm_tta.data.check import CheckReport, check
from apm_tta.data.class_names import equal_names, wordless_names
from apm_tta.data.dataset import Dataset, open_dataset
from apm_tta.data.sample import CLEAN, Condition
from apm_tta.errors import UserError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return two_classes(tmp_path / "tree")


def test_a_tree_without_anything_else_is_as_expected(tree: Path) -> None:
    (tree / "classes.txt").write_text("ant\nbee\n")
    (tree / ".DS_Store").touch()
    (tree / "ant" / "._0.png").touch()
    assert doubts(tree) == doubts(tree, deep=True) == []


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("ant/more/2.png", "1 in folders below a class folder (ant/more/2.png)"),
        ("bee/a/b/c/readme.txt", "1 in folders below a class folder (bee/a/b/c/readme.txt)"),
        ("ant/2.heic", "1 with the suffix .heic (ant/2.heic)"),
        ("bee/2.PSD", "1 with the suffix .psd (bee/2.PSD)"),
        ("bee/2.png.part", "1 with the suffix .part (bee/2.png.part)"),
        ("bee/2", "1 without a suffix (bee/2)"),
        ("ant/.2.png", "1 hidden (ant/.2.png)"),
        ("3.png", "1 beside the class folders (3.png)"),
        ("readme.md", "1 beside the class folders (readme.md)"),
    ],
)
def test_a_file_that_is_not_used_is_named(path: str, reason: str, tree: Path) -> None:
    shutil.copy(tree / "ant" / "0.png", picture(tree / "x.png").rename(tree.parent / "x.png"))
    target = tree / path
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(tree.parent / "x.png", target)
    expected = f"1 file below {tree} is not used: {reason}"
    assert doubts(tree) == [expected]
    dataset = Dataset(FOLDER, tree)
    assert len(dataset.entries(CLEAN)) == 4
    assert dataset.doubts == [expected]


def test_several_are_counted_by_their_reason(tree: Path) -> None:
    for path in ("ant/more/2.png", "ant/more/3.png", "bee/other/4.png"):
        picture(tree / path)
    (tree / "bee" / "5.heic").touch()
    (said,) = doubts(tree)
    assert said.endswith(
        "are not used: 3 in folders below a class folder (ant/more/2.png), 1 with the suffix .heic (bee/5.heic)"
    )
    assert said.startswith(f"4 files below {tree}")


@pytest.mark.parametrize("suffix", ["gif", "avif", "jp2", "JPG", "jfif", "pgm", "WebP"])
def test_what_this_pillow_reads_is_used(suffix: str, tree: Path) -> None:
    kind = {"avif": "AVIF", "jp2": "JPEG2000", "pgm": "PPM", "gif": "GIF", "WebP": "WEBP"}.get(suffix, "JPEG")
    Image.new("L", (9, 9), 70).save(tree / "ant" / f"2.{suffix}", kind)
    assert doubts(tree, deep=True) == []
    assert f"ant/2.{suffix}" in {entry.id for entry in Dataset(FOLDER, tree).entries(CLEAN)}


def test_files_that_a_published_tree_does_not_use_are_counted_too(tmp_path: Path, trees: Any) -> None:
    made = trees.class_folders(tmp_path, "imagenet-part", {"n02123045": 281, "n01440764": 0})
    picture(tmp_path / "n01440764" / "more" / "a.png")
    report = check(made.card, tmp_path)
    assert report.passed
    assert report.doubts == [
        f"1 file below {tmp_path} is not used: 1 in folders below a class folder (n01440764/more/a.png)"
    ]
    stored = trees.corruption_tree(tmp_path / "c")
    (tmp_path / "c/fog/3/n01440764/a.JPEG.part").touch()
    dataset = Dataset(stored.card, tmp_path / "c")
    assert dataset.entries(Condition("fog", 3))
    assert dataset.doubts[0].startswith(f"1 file below {tmp_path}/c/fog/3 is not used: 1 with the suffix .part")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser can read every folder")
def test_a_folder_that_cannot_be_read_is_named(tree: Path) -> None:
    picture(tree / "ant" / "more" / "2.png")
    (tree / "ant" / "more").chmod(0)
    try:
        assert doubts(tree) == [f"1 file below {tree} is not used: 1 in folders that cannot be read (ant/more/*)"]
    finally:
        (tree / "ant" / "more").chmod(0o700)


# Names.


@pytest.mark.parametrize(
    "name",
    [
        *("n01440764", "class_001", "class 1", "Class-12", "cls3", "c0", "0001", "7", "label_4", "img (2)", "id#17"),
        *("category.5", "wn_000123", "x12345", "d41d8cd98f00b204e9800998ecf8427e", "--", "no 3", "n 1"),
        "123e4567-e89b-12d3-a456-426614174000",
    ],
)
def test_an_identifier_is_no_name(name: str, tree: Path) -> None:
    assert wordless_names([name]) == [name]
    (tree / "ant").rename(tree / name)
    (tree / "classes.txt").write_text(f"bee\n{name}\n")
    (said,) = doubts(tree)
    assert said.startswith("1 class is named by an identifier, of which no prompt can be made")
    assert ("imagenet-part" in said) == (name == "n01440764")
    (tree / "classes.txt").write_text(f"bee\n{name}\tan ant\n")
    assert doubts(tree) == []


@pytest.mark.parametrize(
    "name",
    [
        *("ant", "F-16", "Boeing 737-800", "A300B4", "002.Laysan Albatross", "Chevrolet 3500", "t-shirt", "3d printer"),
        *(
            "dead",
            "cafe",
            "facade",
            "Ö",
            "猫",
            "n-type semiconductor",
            "class",
            "category",
            "item of clothing",
            "MiG 29",
        ),
    ],
)
def test_a_word_is_a_name(name: str) -> None:
    assert wordless_names([name]) == []


@pytest.mark.parametrize(
    "names",
    [
        *(("crane", "Crane"), ("ant hill", "ant_hill"), ("ant hill", " ant  hill"), ("café", "cafe\u0301")),
        *(("STRASSE", "straße"), ("ﬁsh", "fish"), ("a b", "a\u00a0b")),
    ],
)
def test_two_classes_with_one_name_are_refused(names: tuple[str, str], tree: Path) -> None:
    assert equal_names(["x", *names]) == [(1, 2)]
    (tree / "classes.txt").write_text(f"ant\t{names[0]}\nbee\t{names[1]}\n", encoding="utf-8")
    report = check(FOLDER, tree)
    (problem,) = report.problems
    assert "two classes with the same name, ant (" in problem
    assert "could never be predicted" in problem
    with pytest.raises(UserError, match="two classes with the same name"):
        Dataset(FOLDER, tree).entries(CLEAN)


def test_folders_whose_names_are_equal_but_for_an_underscore_are_refused(tree: Path) -> None:
    (tree / "ant").rename(tree / "busy bee")
    (tree / "bee").rename(tree / "busy_bee")
    with pytest.raises(UserError, match=r"busy bee \(busy bee\) and busy_bee \(busy bee\)"):
        Dataset(FOLDER, tree).entries(CLEAN)


# One class.


def test_one_class_alone_is_nothing_to_choose_from(tree: Path) -> None:
    shutil.rmtree(tree / "bee")
    assert check(FOLDER, tree).problems == [f"{tree} has one class, ant: a test needs at least two to choose from"]
    with pytest.raises(UserError, match="one class, ant: a test needs at least two"):
        Dataset(FOLDER, tree).entries(CLEAN)


def test_images_of_one_class_among_several_are_named(tree: Path, tmp_path: Path, trees: Any) -> None:
    limited = Dataset(FOLDER, tree, limit=1)
    assert limited.entries(CLEAN)
    assert limited.doubts in ([f"every image is of one class, {name}"] for name in ("ant", "bee"))
    assert Dataset(FOLDER, tree, limit=2).doubts == []
    part = trees.class_folders(tmp_path / "part", "imagenet-part", {"n02123045": 281})
    dataset = Dataset(part.card, part.root)
    assert dataset.entries(CLEAN)
    assert dataset.doubts == ["every image is of one class, tabby cat"]
    carried = open_dataset("fashion-mnist", limit=20)
    assert carried.entries(CLEAN)
    assert carried.doubts == []


def test_a_folder_that_no_class_list_can_name_has_to_be_renamed(tree: Path) -> None:
    (tree / "bee").rename(tree / " ant")
    with pytest.raises(UserError, match=r"two classes with the same name.*rename the folder ' ant'"):
        Dataset(FOLDER, tree).entries(CLEAN)


def test_digits_of_other_scripts_are_names_of_folders(tree: Path) -> None:
    for name, other in (("ant", "²"), ("bee", "³")):
        (tree / name).rename(tree / other)
    assert len(Dataset(FOLDER, tree).entries(CLEAN)) == 4
    (tree / "classes.txt").write_text("³\n²\n", encoding="utf-8")
    assert Dataset(FOLDER, tree).classes == ("³", "²")
    assert check(FOLDER, tree).passed


# Twins.


def twin(tree: Path, how: str) -> None:
    target = tree / "bee" / "9.png"
    if how == "copy":
        shutil.copy(tree / "ant" / "0.png", target)
    elif how == "hard link":
        target.hardlink_to(tree / "ant" / "0.png")
    else:
        target.symlink_to(tree / "ant" / "0.png")


@pytest.mark.parametrize("how", ["copy", "hard link", "symbolic link"])
def test_one_picture_in_two_classes_is_named(how: str, tree: Path) -> None:
    twin(tree, how)
    expected = ["1 picture is in two classes, such as ant/0.png and bee/9.png"]
    assert doubts(tree, deep=True) == expected
    assert doubts(tree) == ([] if how == "copy" else expected)


def test_a_class_folder_that_is_a_link_to_another_is_named(tree: Path) -> None:
    (tree / "cat").symlink_to(tree / "ant", target_is_directory=True)
    assert doubts(tree) == ["2 pictures are in two classes, such as ant/0.png and cat/0.png"]


def test_a_picture_that_is_twice_in_one_class_is_none_of_two(tree: Path) -> None:
    shutil.copy(tree / "ant" / "0.png", tree / "ant" / "9.png")
    assert doubts(tree, deep=True) == []


def test_a_report_says_what_is_worth_a_look_before_its_last_line() -> None:
    report = CheckReport(FOLDER, doubts=["one thing"])
    assert report.lines()[-3:] == ["worth a look:", "  * one thing", "a run can use it; see above"]
