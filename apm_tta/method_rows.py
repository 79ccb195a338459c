"""Names of a table's rows: a method, or a variant of it with settings in brackets, ``apm[iterations=60,target=mta]``.

A variant has one spelling: its keys sorted, its values as short as they are read back. Its method is what stands before
the bracket; in everything else it is a row like any other.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from apm_tta.errors import UserError
from apm_tta.plain_data import parse_plain, plain

_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BARE = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9_.+:@/ -]*")
"""Texts that need no quotes where they are not read as something else."""
_TEXT_IN_QUOTES = re.compile(r"""\s*(?:"(?:\\.|[^"\\])*"|'(?:''|[^'])*')""")
_OPEN, _CLOSE = "[{", "]}"
_BEGINS_VALUE = "=[{,:"
_QUOTED = 60
_SLUG = 48
"""Characters of a variant's settings in the name of its folder."""


def method_of(row: str) -> str:
    """Return the name of a row's method."""
    return row.partition("[")[0]


def is_variant(row: str) -> bool:
    """Return whether a row has settings in its name."""
    return "[" in row


def settings_of(row: str) -> dict[str, Any]:
    """Return the settings in a row's name; none for a method's own.

    Raises:
        UserError: for what is not of the form ``method[key=value,...]``. Exit code 2.
    """
    method, bracket, rest = row.partition("[")
    if not bracket:
        return {}
    form = f"is not of the form {method or 'apm'}[key=value,...], such as apm[iterations=40,target=mta]"
    if not method or not rest.endswith("]") or not rest.isprintable():
        raise UserError(f"{_shortened(row)} {form}", exit_code=2)
    settings: dict[str, Any] = {}
    for part in split_rows(rest[:-1]):
        key, equals, text = (each.strip() for each in part.partition("="))
        if not equals or not _KEY.fullmatch(key):
            raise UserError(f"{_shortened(row)} {form}", exit_code=2)
        if key in settings:
            raise UserError(f"{_shortened(row)} sets {key} twice", exit_code=2)
        try:
            settings[key] = parse_plain(text)
        except ValueError as error:
            raise UserError(f"the value of {key} in {_shortened(row)}: {error}", exit_code=2) from None
    if not settings:
        raise UserError(f"{_shortened(row)} {form}", exit_code=2)
    return settings


def row_name(method: str, settings: Mapping[str, Any]) -> str:
    """Return the one name of the row of a method under ``settings``.

    Raises:
        UserError: for a value that a name cannot hold. Exit code 2.
    """
    if not settings:
        return method
    name = f"{method}[{spelt_settings(settings)}]"
    if not name.isprintable():
        raise UserError(f"a setting of {method} has characters that a row's name cannot have; use --set", exit_code=2)
    return name


def spelt_settings(settings: Mapping[str, Any]) -> str:
    """Return settings as they stand in the brackets of a row's name.

    Raises:
        UserError: for a value that is no plain data. Exit code 2.
    """
    return ",".join(f"{key}={_spelt(key, settings[key])}" for key in sorted(settings))


def canonical_row(row: str) -> str:
    """Return the one spelling of a row's name; a name without brackets is its own.

    Raises:
        UserError: as ``settings_of``.
    """
    row = row.strip()
    return row_name(method_of(row).strip(), settings_of(row)) if is_variant(row) else row


def split_rows(text: str) -> list[str]:
    """Split a text at the commas that are neither in brackets nor in quotes; empty parts are left out."""
    parts, depth, before, start, place = [], 0, ",", 0, 0
    while place < len(text):
        if before in _BEGINS_VALUE and (quoted := _TEXT_IN_QUOTES.match(text, place)):
            before, place = '"', quoted.end()
            continue
        character = text[place]
        if character == "," and not depth:
            parts.append(text[start:place])
            start = place + 1
        depth += (character in _OPEN) - (character in _CLOSE)
        before = before if character.isspace() else character
        place += 1
    return [part.strip() for part in (*parts, text[start:]) if part.strip()]


def folder_of(row: str) -> str:
    """Return the name of a row's folder: its own, or for a variant one that every file system and shell takes as it is.

    It has a digest of the row's name, so that no two rows have one; ``+`` is in no method's name, and without ``=`` no
    reader of Parquet takes it for a partition.
    """
    if not is_variant(row):
        return row
    readable = re.sub(r"[^A-Za-z0-9.]+", "-", row.partition("[")[2]).strip("-.")[:_SLUG]
    return f"{method_of(row)}+{readable}+{hashlib.sha256(row.encode()).hexdigest()[:12]}"


def _spelt(key: str, value: Any) -> str:
    """Return the shortest text that is read back as ``value``; of a whole number, that of the number."""
    try:
        value = _shortest(plain(value))
    except ValueError as error:
        raise UserError(f"the value of {key}: {error}", exit_code=2) from None
    if isinstance(value, str) and _BARE.fullmatch(value) and _is_read_as(value, value):
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _shortest(value: Any) -> Any:
    if isinstance(value, list):
        return [_shortest(each) for each in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return int(value)
    return value


def _is_read_as(text: str, value: Any) -> bool:
    try:
        return bool(parse_plain(text) == value)
    except ValueError:
        return False


def _shortened(row: str) -> str:
    return repr(row if len(row) <= _QUOTED else f"{row[:_QUOTED]}...")
