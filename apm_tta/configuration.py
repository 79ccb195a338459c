"""Files and requests read as typed data, with errors of one line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from apm_tta.errors import UserError
from apm_tta.plain_data import PlainLoader, plain_named, refuse_repeated_keys
from apm_tta.wording import first_few


class Configuration(BaseModel):
    """Base class of everything that is read from a file: immutable, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


C = TypeVar("C", bound=Configuration)
T = TypeVar("T")
_LONGEST = 40
"""Characters of a value in a message."""


# libyaml's reader, eight times as fast, wherever PyYAML was built with it.
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _UniqueKeyLoader(_SafeLoader):  # type: ignore[misc]
    """PyYAML's safe loader, except that a key that appears twice is an error, where PyYAML takes the last value."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        refuse_repeated_keys(self, node)
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


def _written_by_program(text: str) -> Any:
    return yaml.load(text, _UniqueKeyLoader)


@lru_cache(64)  # the same cards and suites are read many times; whoever gets the value copies it
def _written_by_people(text: str) -> Any:
    return yaml.load(text, PlainLoader)


def read_yaml(path: Path, parse: Callable[[str], Any] = _written_by_program) -> Any:
    """Read a YAML file with plain types only and no key twice.

    Args:
        path: of the file.
        parse: takes its text; another one for what people write.

    Raises:
        UserError: when it cannot be read or is not valid YAML.
    """
    try:
        return parse(path.read_text(encoding="utf-8"))
    except Exception as error:  # PyYAML raises whatever it meets, such as KeyError for "!!bool maybe"
        raise UserError(f"{path} cannot be read as YAML: {_problem(error)}") from None


def _problem(error: Exception) -> str:
    """Say what PyYAML met and in which line, without the excerpts that it draws below each other."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem and error.problem_mark:
        return f"{error.problem} in line {error.problem_mark.line + 1}"
    return " ".join(str(error).split())


def read_configuration(path: Path, kind: type[C]) -> C:
    """Read a YAML file that people wrote as a ``kind``; see ``apm_tta.plain_data``.

    Raises:
        UserError: naming the file and each invalid field.
    """
    data = read_yaml(path, _written_by_people)
    if not isinstance(data, dict):
        raise UserError(f"{path} does not hold a mapping of keys to values")
    try:
        return validated(kind, data)
    except ValidationError as error:
        raise UserError(f"{path}: {one_line(error)}") from None
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def validated(kind: type[T], data: Mapping[str, Any]) -> T:
    """Return plain data as a ``kind``; a value of another type is refused, not converted.

    Raises:
        ValidationError: naming each invalid field.
        ValueError: for what is not plain data, naming the field.
    """
    found = {name: plain_named(name, value) for name, value in data.items()}
    # As JSON, in which a tuple is a list: of Python's own values pydantic would take no list for a tuple.
    return TypeAdapter(kind).validate_json(json.dumps(found), strict=True)


def one_line(error: ValidationError) -> str:
    """Format pydantic's errors as one line: those of the first few fields, one each."""
    items = error.errors()
    # A list whose items are wrong is also said to be empty, which it is not.
    nested = {item["loc"][:-1] for item in items if item["loc"]}
    told = [item for item in items if not (item["type"] == "too_short" and item["loc"] in nested)]
    by_field: dict[str, str] = {}
    for item in told:
        by_field.setdefault(_field(item["loc"]), _message(item))
    return first_few([f"{field}: {message}" for field, message in by_field.items()], "; ")


def _field(place: tuple[int | str, ...]) -> str:
    """Name a field without pydantic's names for the alternatives of its type."""
    named = [str(part) for part in place if not str(part).startswith(("tuple[", "list[", "dict[", "constrained-"))]
    return ".".join(named) or "value"


def _message(item: Any) -> str:
    if item["type"] == "too_short" and item["ctx"]["min_length"] == 1:
        return "name at least one"
    message: str = item["msg"]
    given = item["input"]
    if message.startswith("Input should be") and isinstance(given, str | int | float | None):
        text = repr(given)
        message += f", not {text if len(text) <= _LONGEST else text[:_LONGEST] + '...'}"
    return message.removeprefix("Value error, ")
