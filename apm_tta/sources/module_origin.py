"""Where a module comes from: this package, a library of a known version, or user code."""

from __future__ import annotations

import importlib.metadata
import sys
import sysconfig
from functools import cache
from importlib.metadata import Distribution
from pathlib import Path
from types import ModuleType

import apm_tta

OURS = apm_tta.__name__
MAIN_MODULES = ("__main__", "__mp_main__")
"""What a script, a notebook or ``python -c`` is called in its own process, and in one that it starts."""

_PACKAGE_FOLDERS = frozenset({"site-packages", "dist-packages"})
_STANDARD_LIBRARY = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib"))


def is_ours(module: str | None) -> bool:
    """Return whether a module is of this package, whose code has an identity of its own in every run."""
    return module is not None and top_level(module) == OURS


def library_version(module: str | None) -> str | None:
    """Return which version of a library a module is of, so that its name says what its code is.

    Returns:
        Distribution and version; empty for this package and for Python's own modules; None for user code: a
        notebook, a script, a module that no distribution has installed, or one of an editable install, which changes
        without its version.
    """
    if module is None or module in MAIN_MODULES:
        return None
    if is_ours(module):
        return ""
    found = sys.modules.get(module)
    place = None if found is None else module_path(found)
    if place is not None:
        return _version_at(place)
    if top_level(module) in (*sys.builtin_module_names, *sys.stdlib_module_names):
        return ""  # built in or frozen: it has no file
    # Modules that an extension makes at run time have no file: they belong to the package around them.
    parent = module.rpartition(".")[0]
    return library_version(parent) if parent else None


def module_path(module: ModuleType) -> Path | None:
    """Return the file of a module, or the folder of a package without one; None for what has neither."""
    name = getattr(module, "__file__", None)
    if name is None:
        name = next(iter(getattr(module, "__path__", None) or ()), None)
    return _existing(name) if isinstance(name, str) else None


def top_level(module: str) -> str:
    """Return what stands before the first dot."""
    return module.partition(".")[0]


@cache
def _existing(name: str) -> Path | None:
    return path if (path := Path(name)).exists() else None


@cache
def distribution_at(place: Path) -> Distribution | None:
    """Return the distribution that has installed a file where it lies; None for user code and editable installs."""
    for folder in place.parents:
        if found := _installed(folder).get(place.relative_to(folder).parts[0].partition(".")[0]):
            return found
    return None


@cache
def _version_at(place: Path) -> str | None:
    resolved = place.resolve()
    if not _PACKAGE_FOLDERS & {*place.parts, *resolved.parts} and any(
        resolved.is_relative_to(folder) for folder in _STANDARD_LIBRARY
    ):
        return ""
    found = distribution_at(place)
    return None if found is None else f"{found.metadata['Name']} {found.version}"


@cache
def _installed(folder: Path) -> dict[str, Distribution]:
    """Map top-level modules to the distributions whose metadata lies beside them in ``folder``."""
    found: dict[str, Distribution] = {}
    for distribution in importlib.metadata.distributions(path=[str(folder)]):
        for top in _top_levels(distribution):
            found.setdefault(top, distribution)
    return found


def _top_levels(distribution: Distribution) -> set[str]:
    """Return the top-level modules that a distribution has put beside its metadata; none of an editable install."""
    record = distribution.read_text("RECORD")
    if record is None:
        # As system packages are; elsewhere it is the metadata that a source tree has of itself.
        beside = _PACKAGE_FOLDERS & {*Path(str(distribution.locate_file(""))).parts}
        return set((distribution.read_text("top_level.txt") or "").split()) if beside else set()
    paths = [line.partition(",")[0].strip('"').split("/") for line in record.splitlines()]
    return {path[0].partition(".")[0] for path in paths if len(path) > 1 or path[0].endswith((".py", ".so", ".pyd"))}
