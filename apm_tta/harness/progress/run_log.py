"""The run folder's log: every start, every shard, every note, and how the run ended; and what it tells of a run."""

from __future__ import annotations

import logging
import re
import traceback
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TextIO

from apm_tta.errors import UserError
from apm_tta.harness.progress.events import Event, Finished, Kept, Note, Planned, work_name
from apm_tta.system.files import read_regular, require_regular
from apm_tta.wording import pluralise

LOG_FILE = "run.log"
_LINE = re.compile(r"(?P<time>\S+) (?:(?P<started>started: )|recorded .*: (?P<answers>\d+) answers in )")
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
        elif isinstance(event, Kept):
            self.line(f"kept {work_name(event.work)} so far: {event.megabytes:.1f} MB, made in {event.seconds:.1f} s")
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


@dataclass(frozen=True)
class Logged:
    """What the log says of the latest start of a run.

    Attributes:
        answers: recorded since.
        seconds: until the last of them was recorded.
        age: seconds since then; None where nothing was logged.
    """

    answers: int = 0
    seconds: float = 0.0
    age: float | None = None

    @property
    def rate(self) -> float | None:
        """Answers per second; None where none is recorded yet."""
        return self.answers / self.seconds if self.answers and self.seconds > 0 else None


def read_log(folder: Path) -> Logged:
    """Read how many answers were recorded since a run was started last, and in which time."""
    try:
        lines = read_regular(folder / LOG_FILE).decode(errors="replace").splitlines()
    except OSError:
        return Logged()
    answers, began, latest = 0, None, None
    for line in lines:
        if (found := _LINE.match(line)) is None or (time := _time(found["time"])) is None:
            continue
        if found["started"]:
            answers, began = 0, time
        else:
            answers += int(found["answers"])
        latest = time
    if began is None or latest is None:
        return Logged()
    age = (datetime.now(timezone.utc) - latest).total_seconds()
    return Logged(answers, (latest - began).total_seconds(), age)


def _time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo is not None else None
