"""A layout is one class in one file: registered from outside, it is read from a tree and from shards alike."""

from __future__ import annotations

from pathlib import Path

import pytest
from labelled_stores import PHOTOS, card, numbered, shards

from apm_tta.configuration import Configuration
from apm_tta.data.check import check
from apm_tta.data.dataset import Dataset
from apm_tta.data.files import list_folder
from apm_tta.data.layouts import LAYOUTS, Entry, Layout, Survey
from apm_tta.data.pack import pack
from apm_tta.data.sample import CLEAN, Condition


class PrefixOptions(Configuration):
    """What stands between class and name."""

    separator: str = "__"


class PrefixLayout(Layout[PrefixOptions]):
    """One folder of files ``class__name``."""

    Options = PrefixOptions

    def fits(self, folder: Path) -> bool:
        return any(self.options.separator in name for name in list_folder(folder)[1])

    def walk(self, condition: Condition) -> Survey:
        labels = {name: label for label, name in enumerate(self.class_list().folders)}
        names = list_folder(self.place)[1]
        return Survey([Entry(name, labels[name.partition(self.options.separator)[0]]) for name in names])


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LAYOUTS._entries, "prefix", PrefixLayout)


@pytest.fixture
def own_tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    root.mkdir()
    for each in PHOTOS:
        (root / f"{each.folder}+{each.name}").write_bytes(each.content)
    return root


OWN = card(layout="prefix", layout_options={"separator": "+"})


def test_it_is_checked_and_read_as_any_other(own_tree: Path) -> None:
    assert check(OWN, own_tree, deep=True).passed
    dataset = Dataset(OWN, own_tree)
    assert {entry.id: entry.label for entry in dataset.entries(CLEAN)} == {
        f"{each.folder}+{each.name}": each.label for each in PHOTOS
    }
    (own_tree / f"{PHOTOS[0].folder}+{PHOTOS[0].name}").unlink()
    assert "has 8 images, expected 9; unpack it again" in "\n".join(check(OWN, own_tree).problems)


def test_its_options_are_checked_as_any_other_s() -> None:
    from apm_tta.errors import UserError

    with pytest.raises(UserError, match=r"card imagenet, layout_options: .*separater.*; correct the card"):
        Dataset(card(layout="prefix", layout_options={"separater": "+"}))


def test_it_is_packed_and_read_from_its_shards(own_tree: Path, tmp_path: Path) -> None:
    pack(Dataset(OWN, own_tree), tmp_path / "shards")
    read = [
        [(entry.id, entry.label, dataset.read(entry, CLEAN).sha256) for entry in dataset.entries(CLEAN)]
        for dataset in (Dataset(OWN, own_tree), Dataset(OWN, tmp_path / "shards"))
    ]
    assert read[0] == read[1]


def test_it_is_read_from_anyone_s_shards(tmp_path: Path) -> None:
    dataset = Dataset(OWN, shards(tmp_path / "own", numbered()))
    assert [entry.label for entry in dataset.entries(CLEAN)] == [each.label for each in PHOTOS]
    assert dataset.classes == OWN.class_list.names
