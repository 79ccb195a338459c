"""JSON files that every reader reads alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from apm_tta.errors import UserError


def read_strict_json(path: Path) -> Any:
    """Read a JSON file in which no key appears twice, and every number is one.

    Python's reader takes the last of equal keys, and knows ``NaN``; others do neither.

    Raises:
        UserError: when it cannot be read, or is not such a file.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_unique, parse_constant=_no_number)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice")
    return found


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not a number")
