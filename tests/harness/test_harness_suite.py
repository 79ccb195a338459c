"""Suites: the shipped ones name only what exists; overrides change their own fields and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from apm_tta.api.run import resolve
from apm_tta.command_line import main_group
from apm_tta.data.dataset import open_dataset
from apm_tta.data.sample import CLEAN, Condition
from apm_tta.errors import UnknownName, UserError
from apm_tta.harness.request.suite import Suite, command_words, load_suite, run_title, suite_names
from apm_tta.methods import METHODS, build_parameters
from apm_tta.teachers import parse_teacher_name

MINE = """
name: mine
title: Mine
dataset: fashion-mnist
teacher: embedded
methods: [zeroshot, apm]
corruptions: [contrast]
severities: [2]
settings: {apm: {iterations: 3, hidden: [8, 4]}}
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder of suites with one suite, which has its own settings."""
    monkeypatch.setattr("apm_tta.harness.request.suite.SUITES", tmp_path)
    path = tmp_path / "mine.yaml"
    path.write_text(MINE)
    return path


def refusal(name: str, overrides: dict[str, Any]) -> str:
    with pytest.raises(UserError) as caught:
        load_suite(name, overrides)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_two_shipped_suites_are_found() -> None:
    assert {"demo", "imagenet-c"} <= set(suite_names())


@pytest.mark.parametrize("name", suite_names())
def test_a_shipped_suite_names_only_what_exists(name: str) -> None:
    """The name of its file, a card, corruptions of that card, a teacher, methods and their parameters."""
    suite = load_suite(name)
    assert suite.name == name
    open_dataset(suite.dataset).check_conditions(suite.conditions())
    parse_teacher_name(suite.teacher)
    assert set(suite.methods) <= set(METHODS.names())
    for method, settings in suite.settings.items():
        build_parameters(method, settings)


def test_conditions_are_clean_first_then_corruption_by_corruption() -> None:
    conditions = load_suite("demo", {"corruptions": ["pixelate", "contrast"], "severities": [5, 3]}).conditions()
    assert conditions == [
        CLEAN,
        Condition("pixelate", 5),
        Condition("pixelate", 3),
        Condition("contrast", 5),
        Condition("contrast", 3),
    ]


def test_imagenet_c_has_its_75_conditions_and_no_clean_one() -> None:
    conditions = load_suite("imagenet-c").conditions()
    assert len(set(conditions)) == len(conditions) == 75
    assert not any(condition.clean for condition in conditions)


def test_an_override_changes_its_field_and_no_other() -> None:
    before, after = load_suite("demo").model_dump(), load_suite("demo", {"limit": 7, "seeds": [3]}).model_dump()
    assert {key for key in before if before[key] != after[key]} == {"limit", "seeds"}
    assert (after["limit"], after["seeds"]) == (7, (3,))


def test_an_override_can_empty_a_list() -> None:
    """``--corruptions ""``: clean images only."""
    assert load_suite("demo", {"corruptions": []}).conditions() == [CLEAN]


def test_settings_are_merged_key_by_key(mine: Path) -> None:
    """A key of the suite stays unless that very key is overridden."""
    assert load_suite("mine").settings == {"apm": {"iterations": 3, "hidden": [8, 4]}}
    changed = {"apm": {"iterations": 40}, "zeroshot": {"templates": "imagenet"}}
    assert load_suite("mine", {"settings": changed}).settings == {
        "apm": {"iterations": 40, "hidden": [8, 4]},
        "zeroshot": {"templates": "imagenet"},
    }
    assert changed == {"apm": {"iterations": 40}, "zeroshot": {"templates": "imagenet"}}, "the caller's mapping stays"


def test_an_unknown_suite_lists_the_closest() -> None:
    with pytest.raises(UnknownName, match="unknown suite 'imagenet-o'") as caught:
        load_suite("imagenet-o")
    assert all(f"imagenet-{letter}" in str(caught.value) for letter in "acr")
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"limit": -1}, "limit"),
        ({"seeds": [-1]}, "seeds"),
        ({"batch_size": 0}, "batch_size"),
        ({"precision": "float8"}, "precision"),
        ({"methods": []}, "methods"),
        ({"methods": ["apm", "zeroshot", "apm"]}, "methods.*twice"),
        ({"corruptions": ["fog", "fog"]}, "corruptions.*twice"),
        ({"severities": [3, 3]}, "severities.*twice"),
        ({"severities": ["three"]}, r"severities\.0"),
        ({"limt": 3}, "limt"),
        ({"seeds": [2**63]}, "seeds"),
    ],
)
def test_an_invalid_override_is_refused_in_one_line(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_suite("demo", overrides)
    refusal("demo", overrides)


@pytest.mark.parametrize("severity", [0, 6, -3])
def test_a_severity_that_does_not_exist_is_refused(severity: int) -> None:
    suite = load_suite("demo", {"severities": [3, severity]})
    with pytest.raises(UserError, match=rf"severity {severity} does not exist; severities are 1 to 5") as caught:
        suite.conditions()
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("overrides", [{"corruptions": []}, {"severities": []}, {"corruptions": [], "severities": []}])
def test_nothing_to_run_is_refused(overrides: dict[str, Any]) -> None:
    """The suite imagenet-c has no clean images: without corruptions or severities nothing is left."""
    with pytest.raises(UserError, match="nothing to run") as caught:
        load_suite("imagenet-c", overrides).conditions()
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("folder", {"corruptions": ["fog"]}, "--corruptions fog has no effect without severities: add --severities"),
        ("demo", {"corruptions": ["fog"], "severities": []}, "--corruptions fog has no effect without severities"),
        ("folder", {"severities": [3, 5]}, "--severities 3,5 has no effect without corruptions: add --corruptions"),
    ],
)
def test_corruptions_without_severities_are_refused_and_the_reverse(
    name: str, overrides: dict[str, Any], message: str
) -> None:
    """A run that was asked for them would have shown clean images alone, without a word."""
    assert message in refusal(name, overrides)
    assert load_suite("demo", {"corruptions": []}).conditions() == [CLEAN]


@pytest.mark.parametrize(
    "changes",
    [{"clean": False}, {"crop_scale": (0.5, 1.0)}, {"clean": False, "crop_scale": (0.25, 0.75), "limit": 3}, {}],
    ids=str,
)
def test_the_command_of_a_suite_makes_that_suite(changes: dict[str, Any]) -> None:
    """As the line under ``Reproduce`` says: what Python or an option changed is in it."""
    suite = load_suite("imagenet-c-online", {"limit": 2, **changes})
    _, name, *words = command_words(suite)
    options = main_group.get_command(click.Context(main_group), name).make_context(name, list(words)).params  # type: ignore[union-attr]
    assert resolve(name, {key: value for key, value in options.items() if key in Suite.model_fields}).suite == suite


def test_clean_is_not_a_corruption() -> None:
    """``--corruptions clean --severities 3``: refused, not run as a second clean condition."""
    suite = load_suite("demo", {"corruptions": ["clean"], "severities": [3]})
    with pytest.raises(UserError, match="clean"):
        open_dataset(suite.dataset).check_conditions(suite.conditions())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title: Mine", "titel: Mine", "titel"),
        ("teacher: embedded\n", "", "teacher"),
        ("[zeroshot, apm]", "[zeroshot, apm", "YAML"),
        ("[zeroshot, apm]", "[zeroshot, zeroshot]", "twice"),
        ("{apm: {iterations: 3, hidden: [8, 4]}}", "[apm]", "settings"),
    ],
)
def test_an_invalid_suite_is_refused_in_one_line_that_names_the_file(
    mine: Path, old: str, new: str, message: str
) -> None:
    assert old in MINE
    mine.write_text(MINE.replace(old, new))
    with pytest.raises(UserError, match=message) as caught:
        load_suite("mine")
    assert str(mine) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_suite_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_suite("demo").limit = 3  # type: ignore[misc]


def test_a_suite_survives_being_written_and_read() -> None:
    suite = load_suite("imagenet-c", {"settings": {"apm": {"iterations": 2}}})
    assert Suite.model_validate(suite.model_dump(mode="json")) == suite


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        ({}, load_suite("imagenet-c-online").title),
        ({"jpeg_quality": "none"}, "Set: 15 corruptions at severities 1, 2, 3, 4 and 5, 9 images each"),
        ({"severities": [3, 5]}, "Set: 15 corruptions at severities 3 and 5, 9 images each, with JPEG at quality 85"),
        (
            {"corruptions": ["fog"], "severities": [3]},
            "Set: 1 corruption at severity 3, 9 images, with JPEG at quality 85",
        ),
    ],
)
def test_a_title_says_what_is_run_where_an_option_changes_it(changes: dict[str, object], title: str) -> None:
    assert run_title(load_suite("imagenet-c-online", changes), "Set", [9] * 75) == title
