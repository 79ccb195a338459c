"""Defaults by family of data sets are declared once, plain values for methods, and readable in lists."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_args

import pytest

import apm_tta.methods
from apm_tta.data.cards import load_card
from apm_tta.data.task import Family, Task
from apm_tta.errors import UserError
from apm_tta.methods import METHODS, build_parameters
from apm_tta.methods.data_defaults import ByData, by_dataset, by_family, depends_on_data, resolve_defaults
from apm_tta.teachers import Teacher

CLASSES = load_card("fashion-mnist").class_list.names


@dataclass(frozen=True)
class SomeParameters:
    views: int = by_family(1, {"imagenet": 64, "cifar": 32})
    steps: int = 3


@pytest.mark.parametrize(("family", "views"), [("imagenet", 64), ("cifar", 32), ("fine-grained", 1), ("other", 1)])
def test_unset_values_are_the_familys_and_set_values_stay(family: Family, views: int) -> None:
    task = Task(CLASSES, family=family)
    assert resolve_defaults(SomeParameters(), task) == SomeParameters(views=views, steps=3)
    assert resolve_defaults(SomeParameters(views=8), task) == SomeParameters(views=8, steps=3)


def test_a_single_data_set_comes_before_its_family() -> None:
    declared = SomeParameters(views=by_family(1, {"imagenet": 64}, {"imagenet": 2}))
    tasks = [Task(CLASSES, family="imagenet", dataset=name) for name in ("imagenet", "imagenet-r", "")]
    assert [resolve_defaults(declared, task).views for task in tasks] == [2, 64, 64]


def test_a_data_set_without_a_value_is_refused_with_those_that_have_one() -> None:
    declared = SomeParameters(views=by_dataset({"dtd": 1, "eurosat": 2}))
    assert resolve_defaults(declared, Task(CLASSES, dataset="eurosat")).views == 2
    for name, named in (("folder", "folder"), ("", "these images")):
        with pytest.raises(UserError) as refused:
            resolve_defaults(declared, Task(CLASSES, dataset=name))
        assert str(refused.value) == f"views: its authors have no value for {named}, only for dtd, eurosat"
        assert refused.value.exit_code == 2


def test_a_declaration_is_hashable_and_readable_in_a_list_of_defaults() -> None:
    assert hash(SomeParameters()) == hash(SomeParameters())
    assert str(asdict(SomeParameters())["views"]) == "1 (family imagenet: 64, family cifar: 32)"
    assert f"{asdict(build_parameters('tda', {}))['views']}" == "1 (family imagenet: 64, imagenet: 1, imagenet-part: 1)"
    rate = asdict(build_parameters("memo", {}))["learning_rate"]
    assert f"{rate}" == "adamw 1e-05, sgd 0.00025 (family cifar: adamw 1e-05, sgd 0.005)"


def by_family_fields() -> list[tuple[str, str]]:
    return [
        (name, field.name)
        for name in METHODS.names()
        for field in fields(METHODS.get(name).Parameters)
        if depends_on_data(field)
    ]


@pytest.mark.parametrize(("name", "field"), by_family_fields())
def test_none_selects_the_familys_default(name: str, field: str) -> None:
    assert build_parameters(name, {field: None}) == build_parameters(name, {})
    assert isinstance(getattr(build_parameters(name, {field: None}), field), ByData)


@pytest.mark.parametrize("name", sorted({name for name, _ in by_family_fields()}))
def test_a_method_and_the_manifest_see_plain_values(name: str, supported_teacher: Teacher, stated: Any) -> None:
    for family in get_args(Family):
        method = METHODS.get(name)(supported_teacher, Task(CLASSES, family=family), build_parameters(name, {}), 0)
        assert not any(isinstance(value, ByData) for value in vars(method.parameters).values())
        assert all(isinstance(value, bool | int | float | str | list | None) for value in stated(method).values())


def test_no_method_depends_on_its_family_directly() -> None:
    """Only what resolves defaults does, once."""
    folder = Path(apm_tta.methods.__file__).parent
    readers = [file.name for file in sorted(folder.glob("*.py")) if re.search(r"\.family\b", file.read_text())]
    assert readers == ["data_defaults.py"]
