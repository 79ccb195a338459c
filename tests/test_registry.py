"""Names are found where they were registered: by a decorator, or by an installed package's entry point."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from apm_tta.errors import UnknownName, UserError
from apm_tta.registry import Registry


@pytest.fixture
def fruits() -> Registry[str]:
    """A registry that no package has entry points for."""
    registry: Registry[str] = Registry("fruit")
    registry.register("pear")("a pear")
    registry.register("apple")("an apple")
    return registry


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package as pip leaves it: a module, and metadata with entry points in the group ``apm_tta.vegetables``."""
    (tmp_path / "apm_tta_test_garden.py").write_text("LEEK = ['a leek']\n")
    (tmp_path / "apm_tta_test_weeds.py").write_text("raise RuntimeError('overgrown')\n")
    metadata = tmp_path / "garden-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: garden\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[apm_tta.vegetables]\nleek = apm_tta_test_garden:LEEK\nthistle = apm_tta_test_weeds:THISTLE\n"
        "carrot = apm_tta_test_garden:CARROT\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("apm_tta_test_garden", "apm_tta_test_weeds"):
        sys.modules.pop(name, None)


def test_what_was_registered_is_found_by_its_name(fruits: Registry[str]) -> None:
    assert fruits.get("pear") == "a pear"
    assert fruits.names() == ["apple", "pear"]


def test_the_decorator_gives_back_what_it_decorates() -> None:
    registry: Registry[type] = Registry("thing")

    @registry.register("x")
    class Thing:
        pass

    assert isinstance(Thing, type)
    assert registry.get("x") is Thing


def test_a_taken_name_is_refused_and_keeps_its_meaning(fruits: Registry[str]) -> None:
    with pytest.raises(ValueError, match="fruit 'pear' is registered already"):
        fruits.register("pear")("another pear")
    assert fruits.get("pear") == "a pear"


def test_an_unknown_name_lists_those_that_exist(fruits: Registry[str]) -> None:
    with pytest.raises(UnknownName, match="unknown fruit 'plum'; there are: apple, pear") as caught:
        fruits.get("plum")
    assert caught.value.exit_code == 2


def test_an_empty_registry_says_that_there_is_none() -> None:
    with pytest.raises(UnknownName, match="there are: none"):
        Registry[str]("fruit").get("plum")


def test_registries_do_not_share_their_names(fruits: Registry[str]) -> None:
    assert Registry[str]("fruit").names() == []


def test_an_entry_point_is_found_beside_what_was_registered(installed: Path) -> None:
    registry: Registry[object] = Registry("vegetable")
    registry.register("bean")("a bean")
    assert registry.names() == ["bean", "carrot", "leek", "thistle"]
    assert registry.get("leek") == ["a leek"]
    assert registry.get("leek") is registry.get("leek")


def test_an_entry_point_is_imported_only_when_it_is_asked_for(installed: Path) -> None:
    """One broken package does not take the others away."""
    registry: Registry[object] = Registry("vegetable")
    assert "thistle" in registry.names()
    assert registry.get("leek") == ["a leek"]
    assert "apm_tta_test_weeds" not in sys.modules


@pytest.mark.parametrize(
    ("name", "place", "reason"),
    [
        ("thistle", "apm_tta_test_weeds:THISTLE", "overgrown"),
        ("carrot", "apm_tta_test_garden:CARROT", "CARROT"),
    ],
)
def test_an_entry_point_that_cannot_be_imported_is_named(installed: Path, name: str, place: str, reason: str) -> None:
    with pytest.raises(UserError, match=rf"vegetable '{name}' of {place} cannot be imported: .*{reason}"):
        Registry[object]("vegetable").get(name)


def test_an_entry_point_of_another_kind_is_not_seen(installed: Path) -> None:
    assert Registry[object]("mineral").names() == []


def test_what_this_package_registers_wins_over_an_entry_point(installed: Path) -> None:
    """An installed package cannot silently replace a method of this one."""
    registry: Registry[object] = Registry("vegetable")
    registry.register("leek")("our leek")
    assert registry.get("leek") == "our leek"
    assert registry.names().count("leek") == 1
