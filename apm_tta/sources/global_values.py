"""What a function's globals stand for: values, and what it takes of modules."""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any

from apm_tta.sources.code_form import Read, global_reads
from apm_tta.sources.module_origin import library_version

PLACES = frozenset(
    (
        *("__name__", "__file__", "__doc__", "__package__", "__path__", "__spec__", "__loader__", "__cached__"),
        *("__builtins__", "__annotations__"),
    )
)
"""Globals that say where a module lies, and not what it does."""


_READS_ANYTHING = frozenset(("globals", "eval", "exec"))
"""Builtins by which code reaches globals that nobody finds in it."""


class Absent:
    """Stands for a name that nothing has."""


ABSENT = Absent()


def global_values(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """Return what ``function`` reads beside its arguments, each under its name, in a fixed order.

    Of a user module only the attributes that it reads, where they stand in the code; else the module.

    Raises:
        TypeError: where it reads globals by names that do not stand in its code.
    """
    found: dict[str, Any] = {}
    for read in global_reads(function.__code__):
        if read.module:
            found.update(_imported(read, function.__globals__))
        elif read.name in function.__globals__ and read.name not in PLACES:
            if function.__globals__[read.name] is sys and read.attributes[:1] == ("modules",):
                raise TypeError("sys.modules reads what its code does not name")
            found.update([_attribute(read.name, function.__globals__[read.name], read.attributes)])
        elif read.name in _READS_ANYTHING:
            raise TypeError(f"{read.name}() reads what its code does not name")
        elif not hasattr(builtins, read.name) and read.name not in PLACES:
            found[read.name] = ABSENT
    yield from sorted(found.items(), key=lambda item: item[0])


def is_own_module(value: Any) -> bool:
    """Return whether ``value`` is a user module."""
    return isinstance(value, ModuleType) and library_version(value.__name__) is None


def _attribute(path: str, value: Any, attributes: tuple[str, ...]) -> tuple[str, Any]:
    for name in attributes:
        if not is_own_module(value):
            break
        path, value = f"{path}.{name}", getattr(value, name, ABSENT)
    return path, value


def _imported(read: Read, namespace: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Return what an import inside the function brings: of libraries the module, of user code what is taken."""
    dots = "." * read.level
    try:
        name = importlib.util.resolve_name(dots + read.module, namespace.get("__package__") or None)
        if library_version(name) is None and name not in sys.modules and importlib.util.find_spec(name) is None:
            raise ImportError
        module = importlib.import_module(name)
    except Exception:  # as it would fail where the function runs, which need not come so far
        yield f"import {dots}{read.module}", ABSENT
        return
    if read.attributes:
        yield _attribute(f"{dots}{read.module}", module, read.attributes)
        return
    yield f"import {dots}{read.module}", module
    if not read.level and "." in read.module:  # ``import a.b`` gives a name to ``a``
        top = sys.modules[read.module.partition(".")[0]]
        yield f"import {top.__name__}", top
