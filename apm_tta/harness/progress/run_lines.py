"""A run as lines: plain ones in the run folder's log, and JSON for machines."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TextIO

from apm_tta.harness.plan import Shard, Work
from apm_tta.harness.progress.events import Emit, Event, Finished, Note, Planned

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


class JsonLines:
    """One JSON object a line on standard output."""

    def __call__(self, event: Event) -> None:
        """Tells what happened, as ``LogFile`` does."""
        if isinstance(event, Planned):
            answers = sum(unit.answers(cell) for unit in event.work for cell in unit.cells)
            self.put("planned", cells=event.cells, shards=len(event.work), answers=answers)
        elif isinstance(event, Finished):
            self.put(
                "recorded",
                shard=work_name(event.work),
                files=[str(path) for path, _ in event.files],
                seconds=round(event.seconds, 3),
            )
        elif isinstance(event, Note):
            self.put("note", text=event.text)

    def put(self, kind: str, **values: Any) -> None:
        """One object, ``kind`` under the key ``event``."""
        print(json.dumps({"event": kind, **values}), file=sys.stdout, flush=True)


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


def work_name(work: Work) -> str:
    """A shard or a stream, for a person."""
    methods = ", ".join(dict.fromkeys(cell.method for cell in work.cells))
    if isinstance(work, Shard):
        return f"{work.condition}, images {work.start} to {work.stop - 1} ({methods})"
    conditions = ", ".join(str(condition) for condition, _ in work.conditions)
    return f"{work.setting} stream over {conditions} ({methods})"
