"""What this package's modules log, as events."""

from __future__ import annotations

import logging

from apm_tta.harness.progress.events import Emit, Note


class LoggedNotes(logging.Handler):
    """What this package's modules log becomes notes.

    Args:
        emit: hears them.
    """

    def __init__(self, emit: Emit) -> None:
        super().__init__(logging.WARNING)
        self._emit = emit

    def emit(self, record: logging.LogRecord) -> None:
        """One record."""
        self._emit(Note(record.getMessage()))
