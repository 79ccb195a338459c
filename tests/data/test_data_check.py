"""Each mistake in a tree gets its own message, before a run spends an hour on it."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from apm_tta.data.cards import DatasetCard, load_card
from apm_tta.data.check import CheckReport, check, overview, presence
from apm_tta.data.dataset import Dataset
from apm_tta.data.downloads import Download
from apm_tta.data.sample import CLEAN
from apm_tta.errors import UserError


def problems(card: DatasetCard, root: Path, deep: bool = False) -> list[str]:
    report = check(card, root, deep)
    assert not report.passed
    assert all("\n" not in problem for problem in report.problems)
    assert card.get in "\n".join(report.lines())
    return report.problems


# Ten everyday mistakes; each damages a correct tree of ImageNet-A.


def missing_class(root: Path, trees: Any) -> None:
    shutil.rmtree(root / "n01498041")


def extra_class(root: Path, trees: Any) -> None:
    trees.put(root / "n00000000" / "a.jpg", trees.encoded(0))


def swapped_set(root: Path, trees: Any) -> None:
    shutil.rmtree(root)
    trees.by_synset(root, "imagenet-r", ".jpg")


def truncated_jpeg(root: Path, trees: Any) -> None:
    path = root / "n01498041" / "image_0.jpg"
    path.write_bytes(trees.encoded(0, side=200)[:900])


def wrong_count(root: Path, trees: Any) -> None:
    trees.put(root / "n01498041" / "another.JPG", trees.encoded(0))


def severity_folder(root: Path, trees: Any) -> None:
    made = trees.corruption_tree(
        root.parent / "c", [f"{name}/{s}" for name in ("fog", "snow") for s in (1, 2, 3, 4, 6)]
    )
    shutil.rmtree(root)
    made.root.rename(root)


def string_sorted_integers(root: Path, trees: Any) -> None:
    shutil.rmtree(root)
    trees.class_folders(root, "folder", {str(label): label for label in range(12)})


def text_as_image(root: Path, trees: Any) -> None:
    (root / "n01498041" / "image_0.jpg").write_text("version https://git-lfs.github.com/spec/v1\nsize 12\n")


def empty_folder(root: Path, trees: Any) -> None:
    (root / "n01498041" / "image_0.jpg").unlink()


def link_loop(root: Path, trees: Any) -> None:
    shutil.rmtree(root / "n01498041")
    (root / "n01498041").symlink_to(root, target_is_directory=True)


MISTAKES: list[tuple[Callable[[Path, Any], None], str, str]] = [
    (missing_class, "imagenet-a", "has 199 class folders, expected 200: missing n01498041"),
    (extra_class, "imagenet-a", "has 201 class folders, expected 200: surplus n00000000"),
    (swapped_set, "imagenet-a", "has the tree of ImageNet-R, not of ImageNet-A; use imagenet-r"),
    (truncated_jpeg, "imagenet-a", "n01498041/image_0.jpg is not a readable image (truncated?"),
    (wrong_count, "imagenet-a", "has 201 images, expected 200; unpack it again"),
    (
        severity_folder,
        "imagenet-c",
        "fog has the severities 1, 2, 3 and 2 more, expected 1 to 5; missing or surplus: 5, 6",
    ),
    (string_sorted_integers, "folder", "are integers, whose order as text (0, 1, 10, 2) is not their numerical order"),
    (text_as_image, "imagenet-a", "n01498041/image_0.jpg is not a readable image (the file is text)"),
    (empty_folder, "imagenet-a", "has 1 class folder without an image: n01498041"),
    (link_loop, "imagenet-a", "has circular or broken links, or what is no file: n01498041"),
]


@pytest.mark.parametrize(("mistake", "name", "says"), MISTAKES, ids=[mistake.__name__ for mistake, _, _ in MISTAKES])
def test_each_mistake_has_its_own_message(
    mistake: Callable[[Path, Any], None], name: str, says: str, adversarial: Any, trees: Any, tmp_path: Path
) -> None:
    root = adversarial.root
    assert check(adversarial.card, root, deep=True).passed, "the tree is correct before the mistake is made"
    mistake(root, trees)
    card = {"imagenet-a": adversarial.card, "folder": load_card("folder")}.get(name)
    card = card or trees.corruption_tree(tmp_path / "other").card
    found = problems(card, root, deep=True)
    assert any(says in problem for problem in found), found
    assert all(str(root) in problem for problem in found)
    others = [text for _, _, text in MISTAKES if text != says]
    assert not any(text in problem for text in others for problem in found)


@pytest.mark.parametrize("mistake", [m for m, _, _ in MISTAKES if m not in (truncated_jpeg, text_as_image)])
def test_a_run_refuses_what_the_check_refuses(
    mistake: Callable[[Path, Any], None], adversarial: Any, trees: Any
) -> None:
    """In one line, before anything is decoded."""
    mistake(adversarial.root, trees)
    with pytest.raises(UserError) as caught:
        Dataset(adversarial.card, adversarial.root).entries(CLEAN)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1


def test_damage_is_found_only_when_images_are_decoded(adversarial: Any, trees: Any) -> None:
    for mistake in (truncated_jpeg, text_as_image):
        mistake(adversarial.root, trees)
        assert check(adversarial.card, adversarial.root, deep=False).passed
        assert len(check(adversarial.card, adversarial.root, deep=True).problems) == 1


def test_a_published_digest_is_compared_only_when_images_are_decoded(tmp_path: Path, trees: Any) -> None:
    made = trees.cifar(tmp_path, "cifar10")
    digest = hashlib.md5((tmp_path / "test_batch").read_bytes()).hexdigest()
    contains = {"test_batch": {f"md5:{digest}": "me"}, "batches.meta": {"md5:" + 32 * "0": "me"}}
    archive = Download(name="a.tar.gz", steps="ask", stated_by="me", contains=contains)
    right = made.card.model_copy(update={"downloads": (archive,)})
    assert check(right, tmp_path).passed
    report = check(right, tmp_path, deep=True)
    (problem,) = report.problems
    assert "batches.meta has md5 " in problem
    assert "expected 00000000000000000000000000000000 (me); download it again" in problem
    assert "published digests compared: 2 of 2" in report.notes


def test_a_fingerprint_that_the_card_knows_is_compared(adversarial: Any) -> None:
    found = Dataset(adversarial.card, adversarial.root).fingerprint([CLEAN])
    assert check(adversarial.card.model_copy(update={"fingerprint": found}), adversarial.root).passed
    wrong = adversarial.card.model_copy(update={"fingerprint": 64 * "0"})
    assert f"the fingerprint is {found}, expected 0000" in problems(wrong, adversarial.root)[0]


def test_the_report_shows_found_beside_expected(adversarial: Any) -> None:
    report = check(adversarial.card, adversarial.root)
    assert ("classes", "200", "200") in report.rows
    assert ("images", "200", "200") in report.rows
    columns = {line.rstrip()[-8:] for line in report.lines() if line.startswith("  ") and "place" not in line}
    assert len({len(line) for line in report.lines()[2:-1]}) == 1, "columns are aligned"
    assert "expected" in columns


def test_a_report_of_many_problems_shows_the_first() -> None:
    report = CheckReport(load_card("imagenet"), problems=[f"problem {number}" for number in range(25)])
    lines = report.lines()
    assert "  * problem 19" in lines
    assert "  * problem 20" not in lines
    assert "  * and 5 more" in lines


@pytest.mark.parametrize("given", ["none", "file", "nowhere"])
def test_without_a_folder_the_report_states_how_to_name_one(given: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (problem,) = problems(load_card("imagenet"), None if given == "none" else tmp_path / given)  # type: ignore[arg-type]
    assert ("--data-root FOLDER" if given == "none" else f"{tmp_path / given} is not a folder") in problem


def test_an_unreadable_folder_is_named(adversarial: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object) -> object:
        if str(path).endswith("n01498041"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", refuse)
    assert "n01498041 cannot be read: Permission denied" in problems(adversarial.card, adversarial.root)[0]


def test_presence_is_judged_by_shape_alone(adversarial: Any, tmp_path: Path) -> None:
    """ImageNet-R shares classes with -A, and is not found for all that."""
    assert presence(load_card("imagenet-a"), tmp_path) == "found"
    assert presence(load_card("imagenet-a"), adversarial.root) == "found"
    assert presence(load_card("imagenet-r"), adversarial.root) == "not found"
    assert presence(load_card("imagenet-r"), None) == "needs --data-root"
    assert presence(load_card("fashion-mnist"), None) == presence(load_card("fashion-mnist"), tmp_path) == "carried"
    lines = overview(tmp_path)
    assert [line.split()[0] for line in lines if "  found  " in line] == ["folder", "imagenet-a"]
    assert len({line.index("classes  ") for line in lines}) == 1


def test_progress_sees_every_image(adversarial: Any) -> None:
    seen: list[int] = []

    def watch(entries: Any, total: int) -> Any:
        seen.append(total)
        for entry in entries:
            seen.append(entry.label)
            yield entry

    assert check(adversarial.card, adversarial.root, deep=True, progress=watch).passed
    assert seen == [200, *range(200)]


def test_reading_an_image_gives_the_same_pixels_as_pillow(adversarial: Any) -> None:
    dataset = Dataset(adversarial.card, adversarial.root)
    entry = dataset.entries(CLEAN)[17]
    with Image.open(adversarial.root / entry.id) as image:
        assert dataset.read(entry, CLEAN).image.tobytes() == image.convert("RGB").tobytes()
