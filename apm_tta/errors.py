"""What a person is told when something they asked for cannot be done."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from apm_tta.wording import visible

DAMAGED = 3
"""Exit code of what is done, but for images that could not be read, times that something else disturbed, a published
number that is not met, or what is missing on this machine."""

UNEXPECTED = 70
"""Exit code after an error that this program has no line for: a fault of it, or of a library."""

_LONGEST = 130
"""Characters of another library's message that are quoted; a traceback has all of it."""

_LONGEST_LIST, _LONGEST_LINE = 235, 285
"""Characters of the names that are listed where one is unknown, and of the whole line."""


class UserError(Exception):
    """One line that says what is wrong, where, and what would be right.

    Args:
        problem: what is wrong, and where; or the whole line, where nothing is added to it later.
        exit_code: see the attribute.
        advice: what to do about it, which the line ends with.
        passing: see the attribute.

    Attributes:
        exit_code: what ``run-bench`` ends with: 2 for a request that cannot be understood, 1 for one that can
            be understood and cannot be carried out here, 3 for one that is done, but for images that could not be read
            or times that something else disturbed, 128 and the signal's number for one that a signal stopped.
        advice: what to do about it; ``advise`` adds to it.
        passing: whether the cause may be gone without a change to the request: a full disk, a lost process. Only then
            does a run that ends with it advise the same command again.
    """

    def __init__(self, problem: str, exit_code: int = 1, *, advice: str = "", passing: bool = False) -> None:
        super().__init__(visible(problem))  # one line, and text, whatever name or path it quotes
        self.exit_code = exit_code
        self.advice = visible(advice)
        self.passing = passing

    def __str__(self) -> str:
        return "; ".join(filter(None, (*self.args, self.advice)))

    def advise(self, advice: str) -> None:
        """Add what to do, known to a caller of the code that raised the error."""
        self.advice = "; ".join(filter(None, (self.advice, visible(advice))))

    def __reduce__(self) -> tuple[Any, ...]:
        """Let a worker process send it: rebuilt without the constructor, whose arguments a subclass chooses."""
        return _rebuilt, (type(self), self.args, self.__dict__)


class UnknownName(UserError):
    """A name that no registry holds; the message lists those that exist, or the closest of many. Exit code 2."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        begun, advice = f"unknown {kind} {_cut(name)!r}; there are: ", did_you_mean(name, names)
        room = min(_LONGEST_LIST, _LONGEST_LINE - len(begun) - len(advice))
        super().__init__(begun + _listed(name, names, room), exit_code=2, advice=advice)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question with the one of ``known`` that looks most like ``name``; empty where none does."""
    lower = {each.lower(): each for each in known}
    nearest = difflib.get_close_matches(name.lower(), lower, 1)
    return f"did you mean {lower[nearest[0]]}?" if nearest else ""


def _listed(name: str, known: list[str], room: int) -> str:
    """Join all names, or as many as fit into ``room`` characters, those first that look like ``name``."""
    if len(text := ", ".join(known)) <= room:
        return text or "none"
    ordered = list(dict.fromkeys([*difflib.get_close_matches(name, known, len(known), 0.5), *known]))
    while len(text) > room - len(" and 99 more") and len(ordered) > 1:
        ordered.pop()
        text = ", ".join(ordered)
    return f"{text} and {len(known) - len(ordered)} more"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST // 2 else f"{text[: _LONGEST // 2]}..."


def _rebuilt(kind: type[UserError], args: tuple[Any, ...], attributes: dict[str, Any]) -> UserError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


def describe_error(error: BaseException) -> str:
    """Return the kind and the message of an exception in one line, the message cut where it is long."""
    text = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
