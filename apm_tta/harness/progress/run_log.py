"""The run folder's log: what was begun, every shard, every note, how it ended."""

from __future__ import annotations

import traceback
from datetime import datetime, timezone
from pathlib import Path
from typing import TextIO

from apm_tta.harness.progress.events import Event, Finished, Note, Planned, work_name

LOG_FILE = "run.log"


class LogFile:
    """Adds lines to ``run.log``: what was begun, every shard, every note, how it ended. A log never stops a run.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        self._file: TextIO | None = None
        try:
            self._file = (folder / LOG_FILE).open("a", encoding="utf-8", buffering=1)
        except OSError:
            return

    def __call__(self, event: Event) -> None:
        """Notes what happened; single batches are too many to be noted."""
        if isinstance(event, Planned):
            self.line(f"begun: {len(event.work)} shards and streams to compute, {event.cells} cells in all")
        elif isinstance(event, Finished):
            answers = sum(event.work.answers(cell) for cell in event.work.cells)
            self.line(f"recorded {work_name(event.work)}: {answers} answers in {event.seconds:.1f} s")
        elif isinstance(event, Note):
            self.line(event.text)

    def line(self, text: str) -> None:
        """One line with its time."""
        self._write(f"{datetime.now(timezone.utc).isoformat(timespec='seconds')} {text}\n")

    def failed(self, error: BaseException) -> None:
        """How the run ended, and where in the program: what a one-line message leaves out."""
        cause = error.__cause__
        self.line(f"stopped: {error or type(error).__name__}")
        if cause is not None:
            self._write("".join(traceback.format_exception(cause)))

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()

    def _write(self, text: str) -> None:
        if self._file is not None:
            try:
                self._file.write(text)
            except OSError:
                self._file = None
