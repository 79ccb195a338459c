"""Progress as a bar on a terminal, and nowhere else: in a batch system's log a bar is thousands of unreadable lines."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")


def on_terminal() -> bool:
    """Return whether a person sees what is written to the standard errors while it is written."""
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except (AttributeError, ValueError):  # replaced by something else, or closed
        return False


def bar(items: Iterable[T] | None = None, *, hidden: bool = False, **options: Any) -> tqdm[T]:
    """Return a bar of ``tqdm`` that is shown on a terminal only, and leaves nothing on it.

    Args:
        items: what it goes through; None where it is moved by ``update``.
        hidden: whether it is not shown on a terminal either.
        options: of ``tqdm``.
    """
    shown: tqdm[T] = tqdm(items, leave=False, disable=hidden or not on_terminal(), **options)  # type: ignore[assignment]
    return shown


def byte_bar(what: str, total: int | None = None) -> tqdm[None]:
    """Return a bar of the bytes of one file, moved by ``update``.

    Args:
        what: the file, and what is done with it.
        total: its bytes, where they are known.
    """
    return bar(None, total=total, unit="B", unit_scale=True, desc=what)
