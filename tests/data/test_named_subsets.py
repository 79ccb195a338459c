"""Lists of images by name: RobustBench's 5,000 of ImageNet and of what was made of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from apm_tta.data.class_lists import imagenet_1k
from apm_tta.data.dataset import Dataset
from apm_tta.data.layouts import Entry
from apm_tta.data.named_subsets import _listed, select_named, subset_names
from apm_tta.data.sample import CLEAN, Condition
from apm_tta.data.subset import RULE, subset_rules
from apm_tta.errors import UnknownName, UserError

NAME = "robustbench-5k"


def imagenet(start: str = "") -> list[Entry]:
    """Return entries of the listed images, and one more of each class."""
    folders = imagenet_1k().folders
    listed = [Entry(f"{start}{name}", folders.index(name.split("/")[0])) for name in sorted(_listed(NAME))]
    return [*listed, *(Entry(f"{start}{name}/another.JPEG", label) for label, name in enumerate(folders))]


def test_the_list_is_of_5_000_images_of_imagenet_and_states_its_licence() -> None:
    assert subset_names() == [NAME]
    assert len(_listed(NAME)) == 5_000
    assert {name.split("/")[0] for name in _listed(NAME)} <= set(imagenet_1k().folders)
    text = (Path(select_named.__code__.co_filename).parent / f"{NAME}.txt").read_text(encoding="utf-8")
    assert "MIT License" in text
    assert "Copyright (c) 2020 Francesco Croce, Maksym Andriushchenko, Vikash Sehwag" in text


@pytest.mark.parametrize("start", ["", "val/", "fog/3/"])
def test_images_are_told_by_their_folder_and_name(start: str) -> None:
    entries = imagenet(start)
    assert select_named(NAME, entries, "imagenet") == entries[:5_000]


def test_a_set_that_lacks_some_is_refused() -> None:
    with pytest.raises(
        UserError, match="subset robustbench-5k does not fit dtd, which has 4,999 of its 5,000 images"
    ) as caught:
        select_named(NAME, imagenet()[1:], "dtd")
    assert caught.value.exit_code == 2
    with pytest.raises(UnknownName, match="unknown subset 'robustbench-6k'; there are: robustbench-5k"):
        select_named("robustbench-6k", [], "imagenet")


def test_a_data_set_has_the_images_of_its_subset_under_every_condition(
    tmp_path: Path, trees: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit selects among them, and numbers are those of the subset."""
    made = trees.corruption_tree(tmp_path, ["fog/3", "snow/1"])
    names = frozenset(path.removeprefix("fog/3/") for path in made.labels if path.endswith("a.JPEG"))
    monkeypatch.setattr("apm_tta.data.named_subsets._listed", lambda _: names)
    dataset = Dataset(made.card, tmp_path, subset=NAME)
    for condition in (Condition("fog", 3), Condition("snow", 1)):
        assert [entry.id.split("/")[3] for entry in dataset.entries(condition)] == ["a.JPEG"] * 3
        assert dataset.available(condition) == 3
    limited = Dataset(made.card, tmp_path, limit=2, subset=NAME)
    assert Counter(entry.id.split("/")[3] for entry in limited.entries(Condition("fog", 3))) == {"a.JPEG": 2}


def test_a_set_of_other_images_is_refused(tmp_path: Path, trees: Any) -> None:
    made = trees.by_synset(tmp_path, "imagenet-a", ".jpg")
    with pytest.raises(UserError, match="does not fit imagenet-a, which has 0 of its 5,000 images; leave --subset out"):
        Dataset(made.card, tmp_path, subset=NAME).entries(CLEAN)


def test_the_rule_names_the_list() -> None:
    assert subset_rules(0, [(5000, 5000)] * 3, NAME) == "robustbench-5k: all 5000 images"
    assert subset_rules(50, [(50, 5000)], NAME) == f"robustbench-5k: 50 of 5000 images, {RULE} (--limit 50)"
