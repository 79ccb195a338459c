"""Command-line values of kinds that click does not have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import yaml

from apm_tta.errors import UserError
from apm_tta.harness.request.part import parse_part


class NamedPath(click.ParamType[Path]):
    """A path; an empty text is none, though ``pathlib`` takes it for the current folder."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        if isinstance(value, str) and not value:
            self.fail("the path is empty; leave the option out, or write . for the current folder", param, ctx)
        return Path(value)


class NamedImage(click.ParamType[str]):
    """The path of a file or folder, or a name of the package's own data; never empty."""

    name = "image"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not value:
            self.fail("the name is empty; write a path, or a name such as fashion-mnist:test/00000", param, ctx)
        return str(value)


class Names(click.ParamType[list[str]]):
    """Names with commas between them, ``a,b,c``; an empty text for none."""

    name = "a,b,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        if isinstance(value, list):
            return value
        return [part.strip() for part in str(value).split(",") if part.strip()]


class Integers(click.ParamType[list[int] | str]):
    """Whole numbers with commas between them.

    Args:
        what: they are, in the plural, for the message.
        example: of them, for the message.
        words: texts that are taken as they are, such as ``all``.
        minimum: the least that one may be; None for any.
    """

    def __init__(self, what: str, example: str, *words: str, minimum: int | None = None) -> None:
        self.what = what
        self.example = example
        self.words = words
        self.minimum = minimum
        numbers = ",".join([*example.split(",")[:2], "..."])
        self.name = "|".join([numbers, *words])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int] | str:
        if isinstance(value, list) or value in self.words:
            return value  # type: ignore[no-any-return]
        try:
            numbers = [int(part) for part in str(value).split(",") if part.strip()]
            if self.minimum is not None and (not numbers or min(numbers) < self.minimum):
                raise ValueError
        except ValueError:
            choices = " or ".join([f"for example {self.example}", *self.words])
            self.fail(f"{value!r} is not a list of {self.what}; write {choices}", param, ctx)
        return numbers


class MethodSetting(click.ParamType[tuple[str, str, Any]]):
    """``method.key=value``; the value is YAML: ``40``, ``1e-4``, ``true`` and ``[256, 128]`` mean what they say."""

    name = "method.key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str, Any]:
        if isinstance(value, tuple):
            return value
        target, equals, text = str(value).partition("=")
        method, dot, key = target.rpartition(".")  # a method's name may have dots, a key has none
        if not (equals and dot and method and key):
            self.fail(f"{value!r} is not of the form method.key=value, such as apm.iterations=40", param, ctx)
        try:
            return method, key, yaml.safe_load(text)
        except yaml.YAMLError:
            self.fail(f"the value {text!r} of {target} is not valid YAML", param, ctx)


def by_method(
    _context: click.Context, _parameter: click.Parameter, settings: tuple[tuple[str, str, Any], ...]
) -> dict[str, dict[str, Any]]:
    """Group every ``--set`` by method and key; where one is given twice the last counts."""
    grouped: dict[str, dict[str, Any]] = {}
    for method, key, value in settings:
        grouped.setdefault(method, {})[key] = value
    return grouped


class JpegQuality(click.ParamType[int | str]):
    """1 to 100, or ``none``."""

    name = "1..100|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if value == "none":
            return "none"
        try:
            return int(value)
        except ValueError:
            self.fail(f"{value!r} is not a JPEG quality; write a number from 1 to 100, or none", param, ctx)


class Part(click.ParamType[tuple[int, int]]):
    """The i-th of n parts, ``i/n``, counted from 1."""

    name = "i/n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        try:
            return parse_part(value)
        except UserError as error:
            self.fail(str(error), param, ctx)
