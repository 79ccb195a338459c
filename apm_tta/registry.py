"""Find things by name: filled by a decorator here, or by an entry point of an installed package."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Generic, TypeVar

from apm_tta.errors import UnknownName, UserError

T = TypeVar("T")
Admit = Callable[[str, T, EntryPoint | None], None]
"""``(name, entry, point)``: looks at every entry before it gets its name, and refuses it by a ``UserError``."""

_OURS = __name__.partition(".")[0]
_MAIN = "__main__"


class Registry(Generic[T]):
    """What can be asked for by name: methods, teachers, layouts, engines.

    The name in the registry is the name on the command line and in the results table. A package adds its own by an
    entry point in the group ``apm_tta.<plural of kind>``; it is imported when it is first asked for.

    Args:
        kind: what one entry is called in messages, such as ``"method"``.
        admit: looks at every entry, with the entry point that it comes from; None takes any.
    """

    def __init__(self, kind: str, admit: Admit[T] | None = None) -> None:
        self.kind = kind
        self._admit = admit
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator: ``name`` stands for the decorated thing from here on.

        A thing of the same module is replaced: a notebook cell that is run again, a module that is reloaded. Within
        this package only one of the same name is, since two that differ are a mistake.

        Raises:
            UserError: when something of another module has the name, naming both.
        """

        def decorate(entry: T) -> T:
            self._refuse_taken(name, entry)
            if self._admit is not None:
                self._admit(name, entry, None)
            self._entries[name] = entry
            return entry

        return decorate

    def names(self) -> list[str]:
        """Return all names, those of entry points included, sorted."""
        return sorted({*self._entries, *(point.name for point in self._points())})

    def registered(self) -> dict[str, T]:
        """Return what was registered or loaded so far, by name; entry points that nobody asked for are left alone."""
        return dict(self._entries)

    def get(self, name: str) -> T:
        """Return the entry of that name.

        Raises:
            UnknownName: listing the names that exist.
            UserError: when an installed package's entry point cannot be imported, or is refused.
        """
        if name in self._entries:
            return self._entries[name]
        for point in self._points():
            if point.name == name:
                try:
                    entry: T = point.load()
                except Exception as error:
                    raise UserError(f"{self.kind} {name!r} of {point.value} cannot be imported: {error}") from error
                if self._admit is not None:
                    self._admit(name, entry, point)
                self._entries[name] = entry
                return entry
        raise UnknownName(self.kind, name, self.names())

    def _refuse_taken(self, name: str, entry: T) -> None:
        module = _module(entry)
        if name in self._entries:
            old = self._entries[name]
            if module is not None and module == _module(old) and (not _is_ours(module) or _named(old) == _named(entry)):
                return
            taken_by = _named(old)
        elif module is None or _is_ours(module):  # this package's own comes first, whatever is installed
            return
        else:
            # Another package's entry point that nobody has loaded yet holds its name all the same.
            top = module.partition(".")[0]
            points = [point for point in self._points() if point.name == name]
            others = [point.value for point in points if point.module.partition(".")[0] != top]
            if not others:
                return
            taken_by = others[0]
        raise UserError(
            f"{self.kind} {name!r} is {taken_by} already, and {_named(entry)} cannot have its name: choose another name"
        )

    def _points(self) -> tuple[EntryPoint, ...]:
        return _installed(f"apm_tta.{self.kind}s", _places())


@lru_cache(maxsize=16)
def _installed(group: str, places: tuple[tuple[str, int, int], ...]) -> tuple[EntryPoint, ...]:
    """Return the entry points of a group: a file of every package, which a run would read half a dozen times."""
    return tuple(entry_points(group=group))


def _places() -> tuple[tuple[str, int, int], ...]:
    """Return the folders that packages are found in, each with the time of its last change, such as an installation."""
    places = []
    for name in sys.path:
        try:
            found = Path(name).stat()
        except OSError:  # there is no such folder, and so no package in it
            continue
        places.append((name, found.st_ino, found.st_mtime_ns))
    return tuple(places)


def _module(entry: object) -> str | None:
    """Return the module that defines ``entry``; None for what has none, such as a text."""
    module = getattr(entry, "__module__", None)
    # A started process has its parent's script under the second name.
    return _MAIN if module == "__mp_main__" else module


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] == _OURS


def _named(entry: object) -> str:
    """Name what an entry is: module and name where it has them."""
    name = getattr(entry, "__qualname__", None)
    return repr(entry) if name is None else f"{_module(entry)}.{name}"
