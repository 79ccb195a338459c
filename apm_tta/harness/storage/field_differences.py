"""Comparison of two nested mappings, leaf by leaf."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def differing_fields(
    recorded: Mapping[str, Any],
    current: Mapping[str, Any],
    *,
    defaults: Mapping[str, Any] | None = None,
    common: bool = False,
) -> list[str]:
    """Describe the leaves in which two nested mappings differ.

    Args:
        recorded: the mapping whose values the descriptions call ``there``.
        current: the mapping whose values they call ``now``.
        defaults: values, by dotted field, of leaves that one of the mappings lacks; not used with ``common``.
        common: whether only leaves that both mappings have are compared.

    Returns:
        One description per differing leaf, with its dotted field and both values.
    """
    old, new, known = _flatten(dict(recorded)), _flatten(dict(current)), dict(defaults or {})
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


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        return {key: leaf for name, part in value.items() for key, leaf in _flatten(part, f"{prefix}{name}.").items()}
    return {prefix.rstrip("."): value}
