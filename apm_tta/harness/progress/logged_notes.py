"""The warnings that this package's modules log, as events."""

from __future__ import annotations

import logging

from apm_tta.harness.progress.events import Emit, Note


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
