"""Command-line values of kinds that click does not have."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from apm_tta.errors import UserError, did_you_mean
from apm_tta.harness.request.part import parse_part
from apm_tta.method_rows import split_rows
from apm_tta.plain_data import LARGEST, parse_integer, parse_number, parse_plain
from apm_tta.system.files import not_a_path

if TYPE_CHECKING:
    ParamType = click.ParamType
    Choice = click.Choice[str]
else:
    Choice = click.Choice

    class ParamType(click.ParamType):
        """The class of click, which is generic from 8.5 on: older ones are kept in many environments."""

        def __class_getitem__(cls, _: Any) -> type:
            return cls


NamesKnown = Callable[[], Iterable[str]]
"""Returns names that a value may have, for completion; importing nothing heavy."""

_SHOWN = 10_000
"""The help states the upper end of a range below it; beyond, an end is there to be refused, not to be read."""
_LONGEST, _QUOTED = 4000, 60
"""Characters of a value, and of one in a message."""


def shortened(value: Any) -> str:
    """Return a value as a message quotes it."""
    text = str(value)
    return repr(text if len(text) <= _QUOTED else f"{text[:_QUOTED]}...")


def _upper_end(most: float) -> str:
    return f"{most:g}" if most < _SHOWN else ""


class OneOf(Choice):
    """One of a few words."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """Return click's message with the value shortened: click quotes it at any length."""
        choices = [str(choice) for choice in self.choices]
        advice = did_you_mean(str(value), choices)
        return "; ".join(filter(None, (f"{shortened(value)} is not one of {', '.join(map(repr, choices))}", advice)))


def _completions(begun: str, names: Iterable[str], head: str = "") -> list[CompletionItem[str]]:
    return [CompletionItem(head + name) for name in names if name.startswith(begun)]


class Whole(ParamType[int]):
    """A whole number of a range, written in decimal.

    Args:
        least: the smallest one.
        most: the largest one.
        example: one of them, for the message.
    """

    def __init__(self, least: int, most: int, example: int) -> None:
        self.least, self.most, self.example = least, most, example
        self.name = f"{least}..{_upper_end(most)}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number, or refuse the value."""
        try:
            number = value if isinstance(value, int) else parse_integer(value)
            right = self.least <= number <= self.most
        except ValueError:
            right = False
        if not right:
            span = f"from {self.least} to {self.most}"
            self.fail(f"{shortened(value)} is not a whole number {span}, such as {self.example}", param, ctx)
        return number


class Amount(ParamType[float]):
    """A finite number of a range, written in decimal.

    Args:
        least: the smallest one.
        most: the largest one.
        example: one of them, for the message.
        above: whether ``least`` itself is too small.
    """

    def __init__(self, least: float, most: float, example: float, *, above: bool = False) -> None:
        self.least, self.most, self.example, self.above = least, most, example, above
        self.name = f"{'>' if above else ''}{least:g}..{_upper_end(most)}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number, or refuse the value."""
        try:
            number = float(value) if isinstance(value, int | float) else parse_number(value)
            right = self.least <= number <= self.most and not (self.above and number == self.least)
        except ValueError:
            right = False
        if not right:
            span = f"above {self.least:.12g} and up to" if self.above else f"from {self.least:.12g} to"
            self.fail(
                f"{shortened(value)} is not a number {span} {self.most:.12g}, such as {self.example:.12g}", param, ctx
            )
        return number


class Span(ParamType[tuple[float, float]]):
    """Two shares of 1 with a comma between them, the smaller one first."""

    name = "low,high"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        """Return the two numbers, or refuse the value."""
        try:
            low, high = value if isinstance(value, tuple) else [parse_number(part) for part in str(value).split(",")]
            if not 0 < low <= high <= 1:
                raise ValueError
        except ValueError:
            self.fail(f"{shortened(value)} is not two shares above 0 and up to 1, such as 0.08,1", param, ctx)
        return low, high


class WordOrWhole(ParamType[int | str]):
    """One of a few words, or a whole number from 1 on.

    Args:
        words: which.
        most: the largest number.
        what: the number is, for the message and the help.
        example: one of them.
    """

    def __init__(self, words: Sequence[str], most: int, what: str, example: int) -> None:
        self.words, self.what, self.number = tuple(words), what, Whole(1, most, example)
        self.name = "|".join([*words, "N"])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Return the word or the number, or refuse the value."""
        if value in self.words:
            return str(value)
        try:
            return self.number.convert(value, param, ctx)
        except click.BadParameter:
            words = ", ".join(self.words)
            span = f"from 1 to {self.number.most}, such as {self.number.example}"
            self.fail(f"{shortened(value)} is neither {words} nor a number of {self.what} {span}", param, ctx)


class Text(ParamType[str]):
    """A name or address that is not empty.

    Args:
        example: one of them, for the message.
        known: names that a shell completes.
    """

    name = "text"

    def __init__(self, example: str, known: NamesKnown = tuple) -> None:
        self.example, self.known = example, known

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        """Return the known names that begin so."""
        return _completions(incomplete, self.known())

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text, or refuse the value."""
        if not str(value).strip() or "\0" in str(value) or len(str(value)) > _LONGEST:
            self.fail(f"{shortened(value)} is not a name; write, for example, {self.example}", param, ctx)
        return str(value)


class RunPlace(ParamType[str]):
    """Where a run lies: a folder, an archive of one, or an address of fsspec, such as s3://bucket/run."""

    name = "path or address"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        """Leave the completion to the shell."""
        return [CompletionItem(incomplete, type="file")]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the place, or refuse the value."""
        return str(value) if "://" in str(value) else str(NamedPath().convert(value, param, ctx))


class NamedPath(ParamType[Path]):
    """The path of a file or folder, which need not exist."""

    name = "path"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        """Leave the completion to the shell."""
        return [CompletionItem(incomplete, type="file")]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path, or refuse the value."""
        if not os.fspath(value):
            self.fail("the path is empty; leave the option out, or write . for the current folder", param, ctx)
        if reason := not_a_path(os.fspath(value)):
            self.fail(reason, param, ctx)
        return Path(value)


class NamedImage(NamedPath):
    """The path of an image or folder, or ``SET:ID`` of a set that the package carries, kept as text."""

    name = "image"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the text, or refuse the value."""
        if not value:
            self.fail("the name is empty; write a path, or a name such as fashion-mnist:test/00000", param, ctx)
        super().convert(value, param, ctx)
        return str(value)


class Names(ParamType[list[str]]):
    """Names with commas between them, ``a,b,c``.

    Args:
        example: of them, for the message.
        known: names that a shell completes.
        none: whether an empty text may stand for none.
    """

    name = "a,b,..."

    def __init__(self, example: str, known: NamesKnown = tuple, *, none: bool = False) -> None:
        self.example, self.known, self.none = example, known, none

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        """Return the text with its last name completed; no name twice."""
        head, comma, begun = incomplete.rpartition(",")
        there = self.split(head)
        return _completions(begun, (name for name in self.known() if name not in there), head + comma)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        """Return the names, or refuse the value."""
        if isinstance(value, list):
            return value
        names = self.split(str(value))
        if (not names and not (self.none and not str(value).strip())) or "\0" in str(value):
            self.fail(f"{shortened(value)} names nothing; write, for example, {self.example}", param, ctx)
        return names

    def split(self, text: str) -> list[str]:
        """Split the text into the names."""
        return [part.strip() for part in text.split(",") if part.strip()]


class MethodRows(Names):
    """Names of methods and of variants, ``apm,apm[iterations=60]``: commas in brackets and quotes divide nothing."""

    def split(self, text: str) -> list[str]:
        """Split the text into the names."""
        return split_rows(text)


class Integers(ParamType[list[int] | str]):
    """Whole numbers with commas between them.

    Args:
        what: they are, in the plural, for the message.
        example: of them, for the message.
        words: texts that are taken as they are, such as ``all``.
        minimum: the least that one may be.
        maximum: the most that one may be.
        none: whether an empty text may stand for none.
    """

    def __init__(
        self,
        what: str,
        example: str,
        *words: str,
        minimum: int = -LARGEST,
        maximum: int = LARGEST,
        none: bool = False,
    ) -> None:
        self.what = what
        self.example = example
        self.words = words
        self.minimum, self.maximum, self.none = minimum, maximum, none
        numbers = ",".join([*example.split(",")[:2], "..."])
        self.name = "|".join([numbers, *words])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int] | str:
        if isinstance(value, list) or value in self.words:
            return value  # type: ignore[no-any-return]
        try:
            numbers = [parse_integer(part.strip()) for part in str(value).split(",") if part.strip()]
            if not (numbers or (self.none and not str(value).strip())):
                raise ValueError
            if any(not self.minimum <= number <= self.maximum for number in numbers):
                raise ValueError
        except ValueError:
            choices = " or ".join([f"for example {self.example}", *self.words])
            self.fail(f"{shortened(value)} is not a list of {self.what}; write {choices}", param, ctx)
        return numbers


class MethodSetting(ParamType[tuple[str, str, Any]]):
    """``method.key=value``; the value is what ``apm_tta.plain_data`` reads: ``40``, ``1e-4``, ``true``, ``[8, 4]``."""

    name = "method.key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str, Any]:
        if isinstance(value, tuple):
            return value
        target, equals, text = str(value).partition("=")
        method, dot, key = target.rpartition(".")  # a method's name may have dots, a key has none
        if not (equals and dot and method and key):
            self.fail(f"{shortened(value)} is not of the form method.key=value, such as apm.iterations=40", param, ctx)
        try:
            return method, key, parse_plain(text)
        except ValueError as error:
            self.fail(f"the value of {shortened(target)}: {error}", param, ctx)


def by_method(
    _context: click.Context, _parameter: click.Parameter, settings: tuple[tuple[str, str, Any], ...]
) -> dict[str, dict[str, Any]]:
    """Group every ``--set`` by method and key; where one is given twice the last counts."""
    grouped: dict[str, dict[str, Any]] = {}
    for method, key, value in settings:
        grouped.setdefault(method, {})[key] = value
    return grouped


class JpegQuality(ParamType[int | str]):
    """1 to 100, or ``none``."""

    name = "1..100|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if value == "none":
            return "none"
        try:
            return parse_integer(str(value))
        except ValueError:
            self.fail(f"{shortened(value)} is not a JPEG quality; write a number from 1 to 100, or none", param, ctx)


class Part(ParamType[tuple[int, int]]):
    """The i-th of n parts, ``i/n``, counted from 1."""

    name = "i/n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        try:
            return parse_part(value)
        except UserError as error:
            self.fail(str(error), param, ctx)
