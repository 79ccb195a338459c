"""Two nested mappings, compared leaf by leaf."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def differing_fields(
    there: Mapping[str, Any],
    now: Mapping[str, Any],
    *,
    defaults: Mapping[str, Any] | None = None,
    common: bool = False,
) -> list[str]:
    """Compare two nested mappings leaf by leaf; with ``common`` only the leaves that both have."""
    old, new, known = _flat(dict(there)), _flat(dict(now)), dict(defaults or {})
    if common:
        names = sorted(old.keys() & new.keys())
    else:
        names = sorted({*old, *new})
        implied = {name: known[name] for name in names if name in known}
        old, new = {**implied, **old}, {**implied, **new}
    return [
        f"{field}: {old.get(field, 'absent')} there, {new.get(field, 'absent')} now"
        for field in names
        if (field in old, old.get(field)) != (field in new, new.get(field))
    ]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {key: leaf for name, part in value.items() for key, leaf in _flat(part, f"{prefix}{name}.").items()}
    return {prefix.rstrip("."): value}
