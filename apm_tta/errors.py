"""What a person is told when something they asked for cannot be done."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

DAMAGED = 3
"""Exit code of a run that is done, but for images that could not be read."""

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

TERMINATED = 143
"""Exit code after SIGTERM, as shells have it."""


class UserError(Exception):
    """One line that says what is wrong, where, and what would be right.

    Attributes:
        exit_code: what ``run-bench`` ends with: 2 for a request that cannot be understood, 1 for one that can
            be understood and cannot be carried out here, 3 for a run that lacks images that could not be read, 130
            for one that was interrupted, 143 for one that was terminated.
    """

    def __init__(self, message: str, exit_code: int = 1) -> None:
        # One line, and text, whatever name or path it quotes.
        printable = message.encode(errors="backslashreplace").decode()
        super().__init__(printable.replace("\r", "\\r").replace("\n", "\\n"))
        self.exit_code = exit_code

    def __reduce__(self) -> tuple[Any, ...]:
        """Let a worker process send it: rebuilt without the constructor, whose arguments a subclass chooses."""
        return _rebuilt, (type(self), self.args, self.__dict__)


class UnknownName(UserError):
    """A name that no registry holds; the message lists those that exist. Exit code 2."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        super().__init__(f"unknown {kind} {name!r}; there are: {', '.join(sorted(known)) or 'none'}", exit_code=2)


def _rebuilt(kind: type[UserError], args: tuple[Any, ...], attributes: dict[str, Any]) -> UserError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


def describe_error(error: BaseException) -> str:
    """Return the kind and the message of an exception in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
