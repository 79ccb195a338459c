"""What ``--verbose`` adds to the standard errors: what is logged, with its time, and the traceback of an error."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

OPTION = "--verbose"
"""Read from the words themselves: an error that the words bring about needs its traceback too."""


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(self.format(record), file=sys.stderr)  # above a bar, where there is one


@contextmanager
def logs_shown(words: Sequence[str]) -> Iterator[None]:
    """Show what this package and its libraries log within the block, where ``words`` ask for it."""
    if OPTION not in words:
        yield
        return
    handler, root = _Handler(logging.INFO), logging.getLogger()
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s", "%H:%M:%S"))
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def show_traceback(words: Sequence[str], error: BaseException) -> None:
    """Print where ``error`` comes from, where ``words`` ask for it."""
    if OPTION in words:
        traceback.print_exception(error, file=sys.stderr)
