"""The run folder's log: every start, every shard, every note, and how the run ended."""

from __future__ import annotations

import logging
import traceback
from datetime import datetime, timezone
from pathlib import Path
from typing import TextIO

from apm_tta.errors import UserError
from apm_tta.harness.progress.events import Event, Finished, Note, Planned, work_name
from apm_tta.system.files import require_regular
from apm_tta.wording import pluralise

LOG_FILE = "run.log"
_log = logging.getLogger(__name__)


class LogFile:
    """A listener that appends to ``run.log``: every start, every shard, every note, and how the run ended.

    A log that cannot be written never stops a run.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        self._file: TextIO | None = None
        try:
            if (folder / LOG_FILE).exists():
                require_regular(folder / LOG_FILE)
            self._file = (folder / LOG_FILE).open("a", encoding="utf-8", errors="backslashreplace", buffering=1)
        except OSError:
            return

    def __call__(self, event: Event) -> None:
        """Log the event; single batches are too many to be logged."""
        if isinstance(event, Planned):
            units = pluralise(len(event.work), "shard or stream", "shards and streams")
            self.line(f"started: {units} to compute, {pluralise(event.cells, 'cell')} in total")
        elif isinstance(event, Finished):
            answers = sum(event.work.count_answers(cell) for cell in event.work.cells)
            self.line(f"recorded {work_name(event.work)}: {answers} answers in {event.seconds:.1f} s")
        elif isinstance(event, Note):
            self.line(event.text)

    def line(self, text: str) -> None:
        """Log one line with its time."""
        _log.info("%s", text)
        self._write(f"{datetime.now(timezone.utc).isoformat(timespec='seconds')} {text}\n")

    def failed(self, error: BaseException) -> None:
        """Log the error that ended the run, with the traceback that a one-line message leaves out."""
        cause = error.__cause__ if isinstance(error, UserError) else error
        self.line(f"stopped: {error or type(error).__name__}")
        if cause is not None:
            self._write("".join(traceback.format_exception(cause)))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def _write(self, text: str) -> None:
        if self._file is not None:
            try:
                self._file.write(text)
            except OSError:
                self._file = None
