"""The warnings that this package's modules log, as events."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from apm_tta.harness.progress.events import Emit, Event, Note


class LoggedNotes(logging.Handler):
    """A logging handler that turns every record into a note.

    Args:
        emit: receives the notes.
    """

    def __init__(self, emit: Emit) -> None:
        super().__init__(logging.WARNING)
        self._emit = emit

    def emit(self, record: logging.LogRecord) -> None:
        """Emit one record as a note."""
        self._emit(Note(record.getMessage()))


@contextmanager
def gathered_warnings() -> Iterator[list[str]]:
    """Gather what this package's modules log within the block, each warning once."""
    notes: list[str] = []

    def gather(event: Event) -> None:
        if isinstance(event, Note) and event.text not in notes:
            notes.append(event.text)

    with warnings_as_notes(gather):
        yield notes


@contextmanager
def warnings_as_notes(emit: Emit) -> Iterator[None]:
    """Emit a note for every warning that this package's modules log within the block."""
    logger, handler = logging.getLogger("apm_tta"), LoggedNotes(emit)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
