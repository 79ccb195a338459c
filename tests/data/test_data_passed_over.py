"""Folders that are taken for no class: this program's own output and hidden ones; both are named."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from class_trees import FOLDER, doubts, picture, two_classes

from apm_tta.data.cards import load_card
from apm_tta.data.check import check
from apm_tta.data.dataset import Dataset
from apm_tta.data.files.output_folders import RUN_MARK, is_output
from apm_tta.data.image_files.names import is_image_name
from apm_tta.data.sample import CLEAN
from apm_tta.errors import UserError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return two_classes(tmp_path / "tree")


def run_folder(path: Path) -> None:
    (path / "records" / "zeroshot").mkdir(parents=True)
    (path / "records" / "zeroshot" / "a.parquet").touch()
    (path / RUN_MARK).write_text("numbers: {}\n")
    (path / "results.md").touch()


@pytest.mark.parametrize("where", ["run", "results/folder/20261127-064201", "results/imagenet-part/20261127-064201-2"])
@pytest.mark.parametrize("name", ["folder", "imagenet-part"])
def test_a_run_among_the_classes_is_no_class(where: str, name: str, tree: Path, tmp_path: Path, trees: Any) -> None:
    if name == "imagenet-part":
        tree = trees.class_folders(tmp_path / "part", name, {"n02123045": 281, "n01440764": 0}).root
    before = Dataset(load_card(name), tree).entries(CLEAN)
    run_folder(tree / where)
    report = check(load_card(name), tree)
    reason = f"3 in folders that this program has written ({where}/records/zeroshot/a.parquet)"
    assert (report.problems, report.doubts) == ([], [f"3 files below {tree} are not used: {reason}"])
    assert Dataset(load_card(name), tree).entries(CLEAN) == before


def test_pictures_under_their_default_name_are_no_class(tree: Path) -> None:
    picture(tree / "results" / "islands" / "20261127-064201" / "islands.png")
    run_folder(tree / "results" / "folder" / "20261127-064202")
    (doubt,) = doubts(tree)
    assert "4 in folders that this program has written (results/folder/" in doubt


def test_a_run_in_a_class_folder_is_no_image_of_the_class(tree: Path) -> None:
    run_folder(tree / "ant" / "run")
    picture(tree / "ant" / "run" / "islands.png")
    (doubt,) = doubts(tree)
    assert "4 in folders below a class folder (ant/run/islands.png)" in doubt


@pytest.mark.parametrize("where", ["20240301-101500", "islands/20240301-101500", "results/cat/20240301-101500"])
def test_dated_folders_of_images_are_not_taken_for_output(where: str, tree: Path) -> None:
    picture(tree / "cat" / where / "0.png")
    assert not is_output(tree / "cat")
    (problem,) = check(FOLDER, tree).problems
    assert "cat (it has a folder" in problem


@pytest.mark.parametrize("below", [".", "inner"])
def test_a_class_folder_with_the_files_of_a_run_is_a_class(below: str, tree: Path) -> None:
    run_folder(tree / "cat")
    picture(tree / "cat" / below / "0.png")
    assert not is_output(tree / "cat")
    report = check(FOLDER, tree)
    assert "cat" in str(report.doubts + report.problems)


@pytest.mark.parametrize("name", [".Dress", ".net"])
def test_a_hidden_folder_of_images_is_named(name: str, tree: Path) -> None:
    for number in range(2):
        picture(tree / name / f"{number}.png")
    (tree / ".git" / "objects").mkdir(parents=True)
    (tree / ".git" / "config").touch()
    expected = [f"2 files below {tree} are not used: 2 hidden ({name}/0.png)"]
    assert doubts(tree) == expected
    dataset = Dataset(FOLDER, tree)
    assert len(dataset.entries(CLEAN)) == 4
    assert dataset.doubts == expected


def test_a_hidden_folder_of_images_in_a_class_folder_is_named(tree: Path) -> None:
    picture(tree / "ant" / ".more" / "0.png")
    assert doubts(tree) == [f"1 file below {tree} is not used: 1 hidden (ant/.more/0.png)"]


def test_a_folder_of_images_that_holds_a_file_of_that_name_is_a_class(tree: Path) -> None:
    (tree / "ant" / RUN_MARK).touch()
    assert not is_output(tree / "ant")
    assert len(Dataset(FOLDER, tree).entries(CLEAN)) == 4
    (tree / "empty").mkdir()
    assert not is_output(tree / "empty")


# Names that are no text.


@pytest.mark.parametrize("where", ["ant/caf\udce9.png", "ant/a\udce4.txt", "caf\udce9/0.png", "bee/caf\udce9/0.png"])
def test_a_name_that_is_no_text_is_refused_in_one_line(where: str, tree: Path) -> None:
    try:
        (tree / where).parent.mkdir(exist_ok=True)
        shutil.copy(tree / "ant" / "0.png", tree / where)
    except OSError:
        pytest.skip("this file system has no such names")
    (problem,) = check(FOLDER, tree).problems
    with pytest.raises(UserError) as refused:
        Dataset(FOLDER, tree).entries(CLEAN)
    assert problem == str(refused.value)
    assert problem.isprintable()
    assert problem.startswith(f"the name '{tree}/")
    assert problem.endswith("is no text in UTF-8; rename it")


def test_a_data_root_whose_path_is_no_text_is_refused(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        moved = tree.rename(tmp_path / "d\udce4ta")
    except OSError:
        pytest.skip("this file system has no such names")
    monkeypatch.chdir(moved)
    for root in (moved, Path()):
        with pytest.raises(UserError, match="is no text in UTF-8; rename it"):
            Dataset(FOLDER, root).entries(CLEAN)


def test_an_unused_name_that_is_no_text_is_escaped(tree: Path) -> None:
    try:
        picture(tree / ".caf\udce9" / "0.png")
    except OSError:
        pytest.skip("this file system has no such names")
    (doubt,) = doubts(tree)
    assert "1 hidden (.caf\\udce9/0.png)" in doubt


@pytest.mark.parametrize("names", ["run.log", "run.log run.lock run.owner", "run.log run.yaml.9f.partial"])
def test_the_folder_of_a_run_that_was_killed_before_it_was_marked_is_no_class(names: str, tree: Path) -> None:
    before = Dataset(load_card("folder"), tree).entries(CLEAN)
    (tree / "run").mkdir()
    for name in names.split():
        (tree / "run" / name).touch()
    assert is_output(tree / "run")
    assert Dataset(load_card("folder"), tree).entries(CLEAN) == before
    picture(tree / "run" / "0.png")
    assert not is_output(tree / "run"), "images of others make it a class"


@pytest.mark.parametrize("names", ["islands.png islands.csv fit.csv", "curve.png epochs.csv summary.json"])
def test_pictures_beside_their_numbers_are_no_class_wherever_they_lie(names: str, tree: Path) -> None:
    before = Dataset(load_card("folder"), tree).entries(CLEAN)
    for name in names.split():
        place = tree / "drawn" / "here" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if is_image_name(name):
            picture(place)
        else:
            place.touch()
    assert Dataset(load_card("folder"), tree).entries(CLEAN) == before
    picture(tree / "drawn" / "here" / "0.png")
    assert not is_output(tree / "drawn" / "here")


def test_a_class_folder_with_an_image_of_a_pictures_name_is_a_class(tree: Path) -> None:
    picture(tree / "levels" / "levels.png")
    assert not is_output(tree / "levels")
    assert "levels" in Dataset(load_card("folder"), tree).classes


@pytest.mark.parametrize(
    "make", [lambda path: path.symlink_to(path.name), os.mkfifo, lambda path: path.symlink_to("gone")]
)
def test_what_leads_nowhere_beside_the_classes_is_named_and_is_no_class(make: Any, tree: Path) -> None:
    """A link in a circle, a pipe, and a broken link."""
    make(tree / "other")
    with pytest.raises(UserError, match=r"circular or broken links?, or what is no file: other") as refused:
        Dataset(load_card("folder"), tree).entries(CLEAN)
    assert "surplus" not in str(refused.value)
