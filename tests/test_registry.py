"""Names are found where they were registered: by a decorator, or by an installed package's entry point."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
from processes import run_program

from apm_tta.errors import UnknownName, UserError
from apm_tta.registry import Registry


@pytest.fixture
def fruits() -> Registry[str]:
    """Return a registry that no package has entry points for."""
    registry: Registry[str] = Registry("fruit")
    registry.register("pear")("a pear")
    registry.register("apple")("an apple")
    return registry


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Lay out a package as pip does: a module, and metadata with entry points in the group ``apm_tta.vegetables``."""
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


def thing(module: str, name: str = "Thing") -> type:
    """Return a class that seems to be defined in ``module``."""
    return type(name, (), {"__module__": module})


def test_a_taken_name_is_refused_and_keeps_its_meaning(fruits: Registry[str]) -> None:
    """In one line, which names both; a text is of no module, and so not of the same one."""
    with pytest.raises(UserError) as caught:
        fruits.register("pear")("another pear")
    assert str(caught.value) == (
        "fruit 'pear' is 'a pear' already, and 'another pear' cannot have its name: choose another name"
    )
    assert fruits.get("pear") == "a pear"


@pytest.mark.parametrize(
    ("module", "again"), [("__main__", "__main__"), ("losses", "losses"), ("__mp_main__", "__main__")]
)
@pytest.mark.parametrize("name", ["Thing", "Renamed"])
def test_a_thing_of_the_same_module_replaces_the_one_before(module: str, again: str, name: str) -> None:
    """A notebook cell that is run again, also after the class has got another name; a module that is reloaded."""
    registry: Registry[type] = Registry("thing")
    registry.register("x")(thing(module))
    later = thing(again, name)
    assert registry.register("x")(later) is later
    assert registry.get("x") is later
    assert registry.names() == ["x"]


@pytest.mark.parametrize(
    ("module", "other"), [("losses", "__main__"), ("apm_tta.methods.mta", "__main__"), ("a.b", "a")]
)
def test_a_thing_of_another_module_is_refused_by_both_names(module: str, other: str) -> None:
    registry: Registry[type] = Registry("thing")
    registry.register("x")(first := thing(module))
    with pytest.raises(UserError) as caught:
        registry.register("x")(thing(other, "Mine"))
    assert str(caught.value) == (
        f"thing 'x' is {module}.Thing already, and {other}.Mine cannot have its name: choose another name"
    )
    assert registry.get("x") is first


def test_within_this_package_only_a_reload_replaces() -> None:
    """Two classes of one file under one name are a mistake of ours; the same class again is a reload."""
    registry: Registry[type] = Registry("thing")
    registry.register("x")(thing("apm_tta.methods.mta"))
    registry.register("x")(again := thing("apm_tta.methods.mta"))
    with pytest.raises(UserError, match="choose another name"):
        registry.register("x")(thing("apm_tta.methods.mta", "Other"))
    assert registry.get("x") is again


def test_a_module_of_the_package_can_be_reloaded() -> None:
    """In a process of its own, since the classes of this one must stay what they are."""
    program = (
        "import importlib, apm_tta.methods.mta as module\n"
        "before = module.METHODS.get('mta') if hasattr(module, 'METHODS') else None\n"
        "importlib.reload(module)\n"
        "from apm_tta.methods import METHODS\n"
        "assert METHODS.get('mta') is module.MTA and METHODS.get('mta') is not before\n"
    )
    done = run_program(program)
    assert done.returncode == 0, done.stderr


def test_a_name_that_an_installed_package_offers_is_taken(installed: Path) -> None:
    """Whether it was loaded before or not: what a name means does not depend on what was asked for first."""
    for load in (False, True):
        registry: Registry[Any] = Registry("vegetable")
        if load:
            registry.get("leek")
        with pytest.raises(UserError, match=r"vegetable 'leek' is .* already, and __main__\.Mine cannot"):
            registry.register("leek")(thing("__main__", "Mine"))
        assert registry.get("leek") == ["a leek"]


def test_a_module_may_register_what_its_own_entry_point_names(installed: Path) -> None:
    """A package that has both the decorator and the entry point."""
    registry: Registry[Any] = Registry("vegetable")
    own = thing("apm_tta_test_garden.beds")
    assert registry.register("leek")(own) is registry.get("leek")


def test_every_entry_is_looked_at_before_it_has_its_name(installed: Path) -> None:
    """One that is refused is not there; one of an entry point comes with it."""
    seen: list[tuple[str, Any, str | None]] = []

    def admit(name: str, entry: Any, point: EntryPoint | None) -> None:
        seen.append((name, entry, None if point is None else point.value))
        if entry in ("bad", ["a leek"]):
            raise UserError(f"{name} is refused")

    registry: Registry[Any] = Registry("vegetable", admit)
    registry.register("bean")("a bean")
    with pytest.raises(UserError, match="pea is refused"):
        registry.register("pea")("bad")
    with pytest.raises(UserError, match="leek is refused"):
        registry.get("leek")
    assert seen == [("bean", "a bean", None), ("pea", "bad", None), ("leek", ["a leek"], "apm_tta_test_garden:LEEK")]
    assert registry.registered() == {"bean": "a bean"}


def test_the_registry_needs_no_more_than_python() -> None:
    """``import apm_tta`` and ``run-bench --help`` stay light."""
    program = "import sys, apm_tta.registry; print(*{name.partition('.')[0] for name in sys.modules})"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numpy", "scipy", "cloudpickle", "pydantic"} & {*found}
    importlib.import_module("cloudpickle")  # it could have been found


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
