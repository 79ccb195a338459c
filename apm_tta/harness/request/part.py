"""One of several parts of a run, as ``--shard-range`` names it."""

from __future__ import annotations

from contextlib import suppress

from apm_tta.errors import UserError
from apm_tta.plain_data import parse_integer

_MOST_PARTS = 1_000_000


def parse_part(value: str | tuple[int, int]) -> tuple[int, int]:
    """Return ``(i, n)`` for the i-th of n parts, counted from 1.

    Args:
        value: ``"i/n"`` or the pair itself.

    Raises:
        UserError: when it is not such a part. Exit code 2.
    """
    part, total = value if isinstance(value, tuple) and len(value) == 2 else (0, 0)
    if isinstance(value, str):
        first, slash, second = value.partition("/")
        with suppress(ValueError):
            part, total = (parse_integer(first), parse_integer(second)) if slash else (0, 0)
    if type(part) is not int or type(total) is not int or not 1 <= part <= total <= _MOST_PARTS:
        shown = value if len(str(value)) <= 40 else f"{str(value)[:40]}..."
        raise UserError(f"{shown!r} is not a part of a run; write 1/4 for the first of four", exit_code=2)
    return part, total
