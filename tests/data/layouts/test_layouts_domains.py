"""Sets of several domains: each domain is read by itself, under the name of its folder, and mistakes are refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from apm_tta.data.cards import card_names, load_card
from apm_tta.data.check import check
from apm_tta.data.dataset import Dataset
from apm_tta.data.sample import CLEAN, Condition, parse_condition
from apm_tta.errors import UnknownName, UserError

NAMES = [name for name in card_names() if load_card(name).domains and load_card(name).layout != "only-stores"]


@pytest.mark.parametrize("name", NAMES)
def test_every_domain_of_a_set_is_read_and_the_set_passes_its_check(name: str, tmp_path: Path, trees: Any) -> None:
    made = trees.domain_folders(tmp_path, name)
    dataset = Dataset(made.card, tmp_path)
    for domain in made.card.domains:
        entries = dataset.entries(Condition(domain))
        assert sorted(entry.label for entry in entries) == sorted(made.labels.values())
        assert len({entry.id.split("/")[0] for entry in entries}) == 1
        for entry in entries[:3]:
            assert trees.label_of(dataset.read(entry, Condition(domain)).image) == entry.label
    report = check(made.card, tmp_path)
    assert report.problems == []
    assert ("domains", str(len(made.card.domains)), str(len(made.card.domains))) in report.rows


def refusal(card: Any, root: Path, condition: Condition) -> str:
    with pytest.raises(UserError) as caught:
        Dataset(card, root).entries(condition)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_domain_is_named(tmp_path: Path, trees: Any) -> None:
    card = trees.domain_folders(tmp_path, "pacs").card
    shutil.rmtree(tmp_path / "photo")
    assert f"{tmp_path} lacks the domain photo; expected tree: {card.tree}" in refusal(
        card, tmp_path, Condition("photo")
    )
    assert check(card, tmp_path).problems == [f"{tmp_path} lacks the domains photo; unpack what is missing"]
    assert len(Dataset(card, tmp_path).entries(Condition("sketch"))) == 7, "the others can be tested"


def test_a_missing_and_a_surplus_class_are_named(tmp_path: Path, trees: Any) -> None:
    card = trees.domain_folders(tmp_path, "pacs").card
    (tmp_path / "photo" / "dog").rename(tmp_path / "photo" / "hound")
    says = f"{tmp_path / 'photo'} has 7 class folders, expected 7: missing dog, surplus hound"
    assert says in refusal(card, tmp_path, Condition("photo"))


def test_a_folder_that_is_merged_into_another_class_may_not_lack(tmp_path: Path, trees: Any) -> None:
    """Couches are beds in ImageNet-D109: without that folder the class would be another one."""
    card = trees.domain_folders(tmp_path, "imagenet-d109").card
    label = card.class_list.folders.index("bed")
    entries = Dataset(card, tmp_path).entries(Condition("clipart"))
    beds = [entry.id.split("/")[1] for entry in entries if entry.label == label]
    assert beds == ["bed", "couch"]
    shutil.rmtree(tmp_path / "clipart" / "couch")
    assert "expected 112: missing couch" in refusal(card, tmp_path, Condition("clipart"))


def test_another_number_of_images_is_refused(tmp_path: Path, trees: Any) -> None:
    card = trees.domain_folders(tmp_path, "vlcs").card
    trees.put(tmp_path / "SUN09" / "bird" / "another.jpg", trees.encoded(0))
    assert f"{tmp_path / 'SUN09'} has 6 images, expected 5" in refusal(card, tmp_path, Condition("sun09"))


@pytest.mark.parametrize(
    ("asked", "given", "title"),
    [
        ("pacs", "domainnet", "DomainNet"),
        ("imagenet-d", "imagenet-d109", "ImageNet-D109, from DomainNet"),
        ("imagenet-d109", "imagenet-d", "ImageNet-D, from diffusion models"),
        ("office-home", "pacs", "PACS"),
        ("vlcs", "office-home", "Office-Home"),
    ],
)
def test_two_sets_are_not_confused(asked: str, given: str, title: str, tmp_path: Path, trees: Any) -> None:
    made = trees.domain_folders(tmp_path, given)
    card = load_card(asked)
    for domain in card.domains:
        message = refusal(card, tmp_path, Condition(domain))
        assert f"{tmp_path} has the tree of " in message
        assert made.card.name in message.split("; use ")[1].split(";")[0].split(" or ")


def test_two_folders_of_one_domain_are_refused(tmp_path: Path, trees: Any) -> None:
    card = trees.domain_folders(tmp_path, "office-home").card
    (tmp_path / "Real_World").mkdir()
    both = "two folders for the domain real_world, Real World and Real_World; move one away"
    assert both in refusal(card, tmp_path, Condition("real_world"))


@pytest.mark.parametrize(
    ("name", "condition", "says"),
    [
        ("pacs", CLEAN, "pacs is tested by domain, not clean; use --domains art_painting,cartoon,photo,sketch"),
        ("pacs", Condition("fog", 3), "pacs is tested by domain, not fog 3; use --domains"),
        ("imagenet", Condition("sketch"), "imagenet has no domains, such as sketch; leave --domains out"),
    ],
)
def test_conditions_that_a_set_does_not_have_are_refused(name: str, condition: Condition, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        Dataset(load_card(name)).check_conditions([condition])
    assert caught.value.exit_code == 2
    with pytest.raises(UnknownName, match="unknown domain of pacs 'painting'; there are: art_painting"):
        Dataset(load_card("pacs")).check_conditions([Condition("painting")])


def test_the_name_of_a_domain_is_that_of_its_condition() -> None:
    for condition in (CLEAN, Condition("real_world"), Condition("location_100"), Condition("fog", 3)):
        assert parse_condition(str(condition)) == condition
