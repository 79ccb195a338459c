"""Comparison of two nested mappings, leaf by leaf."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

_SHOWN = 3
"""Items of long lists that are described."""


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
    old, new, known = flatten(dict(recorded)), flatten(dict(current)), dict(defaults or {})
    if common:
        names = sorted(old.keys() & new.keys())
    else:
        names = sorted({*old, *new})
        implied = {name: known[name] for name in names if name in known}
        old, new = {**implied, **old}, {**implied, **new}
    return [
        f"{field}: {_described(old.get(field, 'absent'), new.get(field, 'absent'))}"
        for field in names
        if (field in old, old.get(field)) != (field in new, new.get(field))
    ]


def _described(old: Any, new: Any) -> str:
    """Describe two different values, of long lists the first items that differ."""
    if not (isinstance(old, list) and isinstance(new, list) and max(len(old), len(new)) > _SHOWN):
        return f"{old} there, {new} now"
    length = "" if len(old) == len(new) else f"{len(old):,} items there, {len(new):,} now; "
    both = [(position, *items) for position, items in enumerate(zip_longest(old, new, fillvalue="none"))]
    differing = [each for each in both if each[1] != each[2]]
    shown = "; ".join(
        f"number {position} is {there!r} there, {now!r} now" for position, there, now in differing[:_SHOWN]
    )
    more = f"; and {len(differing) - _SHOWN:,} more" if len(differing) > _SHOWN else ""
    return f"{length}{shown}{more}"


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested mappings by dotted field; a list is a leaf."""
    if isinstance(value, dict):
        return {key: leaf for name, part in value.items() for key, leaf in flatten(part, f"{prefix}{name}.").items()}
    return {prefix.rstrip("."): value}
