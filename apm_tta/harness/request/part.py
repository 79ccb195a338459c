"""One of several parts of a run, as ``--shard-range`` names it."""

from __future__ import annotations

from apm_tta.errors import UserError


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
        if slash and first.isdecimal() and second.isdecimal():
            part, total = int(first), int(second)
    if not (isinstance(part, int) and isinstance(total, int) and 1 <= part <= total):
        raise UserError(f"{value!r} is not a part of a run; write 1/4 for the first of four", exit_code=2)
    return part, total
