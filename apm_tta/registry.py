"""Names to things: filled by a decorator here, or by an entry point of an installed package."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from apm_tta.errors import UnknownName, UserError

T = TypeVar("T")


class Registry(Generic[T]):
    """What can be asked for by name: methods, teachers, layouts, engines.

    The name in the registry is the name on the command line and in the results table. A package adds its own by an
    entry point in the group ``apm_tta.<plural of kind>``; it is imported when it is first asked for.

    Args:
        kind: what one entry is called in messages, such as ``"method"``.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator: ``name`` stands for the decorated thing from here on.

        Raises:
            ValueError: when the name is taken.
        """

        def decorate(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered already")
            self._entries[name] = entry
            return entry

        return decorate

    def names(self) -> list[str]:
        """All names, those of entry points included, sorted."""
        return sorted({*self._entries, *(point.name for point in self._points())})

    def get(self, name: str) -> T:
        """The entry of that name.

        Raises:
            UnknownName: listing the names that exist.
            UserError: when an installed package's entry point cannot be imported.
        """
        if name in self._entries:
            return self._entries[name]
        for point in self._points():
            if point.name == name:
                try:
                    self._entries[name] = point.load()
                except Exception as error:
                    raise UserError(f"{self.kind} {name!r} of {point.value} cannot be imported: {error}") from error
                return self._entries[name]
        raise UnknownName(self.kind, name, self.names())

    def _points(self) -> tuple[EntryPoint, ...]:
        return tuple(entry_points(group=f"apm_tta.{self.kind}s"))
