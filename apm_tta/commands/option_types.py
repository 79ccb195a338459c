"""Values that a command line holds beyond what click knows."""

from __future__ import annotations

from typing import Any

import click
import yaml


class Names(click.ParamType[list[str]]):
    """Names between commas, ``a,b,c``; an empty text is none."""

    name = "a,b,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        if isinstance(value, list):
            return value
        return [part.strip() for part in str(value).split(",") if part.strip()]


class Severities(click.ParamType[list[int]]):
    """Severities between commas, ``1,3,5``."""

    name = "1,3,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        if isinstance(value, list):
            return value
        try:
            return [int(part) for part in str(value).split(",") if part.strip()]
        except ValueError:
            self.fail(f"{value!r} is no list of severities; write for example 3,5", param, ctx)


class MethodSetting(click.ParamType[tuple[str, str, Any]]):
    """``method.key=value``; the value is YAML, so ``40``, ``1e-4``, ``true`` and ``[256, 128]`` mean what they say."""

    name = "method.key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str, Any]:
        if isinstance(value, tuple):
            return value
        target, equals, text = str(value).partition("=")
        method, dot, key = target.partition(".")
        if not (equals and dot and method and key):
            self.fail(f"{value!r} is not of the form method.key=value, such as apm.iterations=40", param, ctx)
        try:
            return method, key, yaml.safe_load(text)
        except yaml.YAMLError:
            self.fail(f"the value {text!r} of {target} cannot be read", param, ctx)


def by_method(
    _context: click.Context, _parameter: click.Parameter, settings: tuple[tuple[str, str, Any], ...]
) -> dict[str, dict[str, Any]]:
    """Gather every ``--set`` by method and key; of one that is given twice the last counts."""
    found: dict[str, dict[str, Any]] = {}
    for method, key, value in settings:
        found.setdefault(method, {})[key] = value
    return found


class JpegQuality(click.ParamType[int | str]):
    """1 to 100, or ``none``."""

    name = "1..100|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if value == "none":
            return "none"
        try:
            return int(value)
        except ValueError:
            self.fail(f"{value!r} is no JPEG quality; write a number from 1 to 100, or none", param, ctx)


class Seeds(click.ParamType[list[int]]):
    """Seeds between commas, ``0,1,2``."""

    name = "0,1,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        if isinstance(value, list):
            return value
        try:
            return [int(part) for part in str(value).split(",")]
        except ValueError:
            self.fail(f"{value!r} is no list of seeds; write for example 0,1,2", param, ctx)


class Part(click.ParamType[tuple[int, int]]):
    """The i-th of n parts, ``i/n``, counted from 1."""

    name = "i/n"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        part, slash, parts = str(value).partition("/")
        if not (slash and part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
            self.fail(f"{value!r} is no part; write 1/4 for the first of four", param, ctx)
        return int(part), int(parts)


class Levels(click.ParamType[list[int] | str]):
    """Layers of a teacher between commas, ``2,5,8,11``, or ``all``; negative ones count from the end."""

    name = "2,5,...|all"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int] | str:
        if isinstance(value, list):
            return value
        if value == "all":
            return "all"
        try:
            return [int(part) for part in str(value).split(",")]
        except ValueError:
            self.fail(f"{value!r} is no list of layers; write for example 2,5,8,11, or all", param, ctx)


class Integers(click.ParamType[list[int]]):
    """Positive whole numbers between commas, ``4096,2048,1024``."""

    name = "4096,2048,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        if isinstance(value, list):
            return value
        parts = str(value).split(",")
        if not all(part.strip().isdecimal() and int(part) for part in parts):
            self.fail(f"{value!r} is no list of widths; write for example 4096,2048,1024", param, ctx)
        return [int(part) for part in parts]
