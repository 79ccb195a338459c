"""Names are matched whichever of Unicode's forms a list and a file system have them in."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from apm_tta.data.cards import load_card
from apm_tta.data.dataset import Dataset
from apm_tta.data.image_digests import ImageDigests
from apm_tta.data.normal_forms import as_found, composed, path_as_found
from apm_tta.data.sample import CLEAN
from apm_tta.data.support_images import SupportImages
from apm_tta.harness.storage.image_list import with_images

FORMS = ("NFC", "NFD")
names = st.text(st.sampled_from("eéaü\u0301\u0308한x"), min_size=1, max_size=4)


def _form(name: str, form: str) -> str:
    return unicodedata.normalize(form, name)  # type: ignore[arg-type]


@given(st.lists(names, unique_by=composed, max_size=4), st.sampled_from(FORMS), st.sampled_from(FORMS))
def test_each_name_is_taken_as_it_is_found(listed: list[str], stated: str, stored: str) -> None:
    found = [_form(name, stored) for name in listed]
    assert as_found([_form(name, stated) for name in listed], [*found, "other"]) == tuple(found)


def test_a_name_that_is_there_is_taken_as_it_is_and_an_ambiguous_one_for_missing() -> None:
    both = [_form("café", form) for form in FORMS]
    assert as_found(both, both) == tuple(both)
    assert as_found(["\u212b"], ["\u00c5", "A\u030a"]) == ("\u212b",)


@pytest.fixture(params=FORMS)
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Make class folders in one form, and the list of the classes in the other."""
    other = next(form for form in FORMS if form != request.param)
    for shade, name in enumerate(("café", "dog")):
        folder = tmp_path / "set" / _form(name, request.param)
        folder.mkdir(parents=True)
        Image.new("RGB", (9, 9), (40 * shade, 9, 9)).save(folder / f"{_form('ü', request.param)}.png")
    (tmp_path / "set" / "classes.txt").write_text(f"dog\n{_form('café', other)}\n", encoding="utf-8")
    return tmp_path / "set"


def test_a_list_of_classes_matches_its_folders(tree: Path, tmp_path: Path) -> None:
    dataset = Dataset(load_card("folder"), tree)
    assert [composed(name) for name in dataset.classes] == ["dog", "café"]
    assert [entry.label for entry in dataset.entries(CLEAN)] == [0, 1]
    assert all(dataset.read(entry, CLEAN) for entry in dataset.entries(CLEAN))
    for form in FORMS:
        support = tmp_path / form
        for shade, name in enumerate(("café", "dog")):
            (support / _form(name, form)).mkdir(parents=True)
            Image.new("RGB", (9, 9), (9, 90 + shade, 9)).save(support / _form(name, form) / "0.png")
        assert len(SupportImages(support, dataset, 1).entries) == 2


def test_listed_paths_match_their_files(tree: Path) -> None:
    there = [path.relative_to(tree).as_posix() for path in sorted(tree.rglob("*.png"))]

    def listing(folder: str) -> list[str]:
        return [path.name for path in (tree / folder).iterdir()]

    for form in FORMS:
        assert [path_as_found(_form(path, form), listing) for path in there] == there


def test_a_run_over_the_same_names_in_another_form_says_so() -> None:
    before, now = (ImageDigests({_form("é/0.png", form): "0" * 64}, 1) for form in FORMS)
    (line,) = with_images(["dataset.fingerprint: a there, b now"], before, now)
    assert "names in another Unicode normal form" in line
