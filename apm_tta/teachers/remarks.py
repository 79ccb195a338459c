"""What was logged while a teacher was built, so that a later run which need not build it can say it too."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class _Gatherer(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.remarks: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.remarks.append(record.getMessage())


@contextmanager
def gathered_remarks() -> Iterator[list[str]]:
    """Gather the warnings that the modules of teachers log within the block, which are logged all the same."""
    logger, gatherer = logging.getLogger(__name__.rpartition(".")[0]), _Gatherer()
    logger.addHandler(gatherer)
    try:
        yield gatherer.remarks
    finally:
        logger.removeHandler(gatherer)
