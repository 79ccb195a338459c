"""The progress of a run: cells, images, images per second, time left, running top-1."""

from __future__ import annotations

import sys
import time
from collections import Counter
from contextlib import suppress
from typing import Any

from tqdm import tqdm

from apm_tta.data.sample import FOREIGN
from apm_tta.harness.plan import Cell
from apm_tta.harness.progress.events import Answered, Event, Note, Planned
from apm_tta.system.bars import on_terminal

LINE_EVERY_S = 60.0
"""Where there is no terminal: a line after so many seconds, and one at the end."""


class Progress:
    """A listener that counts answers (one image under one method) while they are computed.

    It shows them as a bar on a terminal, and as a line now and then where errors go into a file or a pipe.
    """

    def __init__(self) -> None:
        self._cells = 0
        self._pending: Counter[Cell] = Counter()
        self._right: Counter[Cell] = Counter()
        self._seen: Counter[Cell] = Counter()
        self._shown: _Bar | _Lines | None = None

    def __call__(self, event: Event) -> None:
        """Show the event."""
        if isinstance(event, Planned):
            self._start(event)
        elif self._shown is None:
            return
        elif isinstance(event, Note):
            self._shown.note(event.text)
        elif isinstance(event, Answered):
            self._advance(event)

    def close(self) -> None:
        """Leave on screen what is there."""
        if self._shown is not None:
            self._shown.close()

    def _start(self, planned: Planned) -> None:
        self._cells = planned.cells
        for unit in planned.work:
            for cell in unit.cells:
                self._pending[cell] += unit.count_answers(cell)
        kind = _Bar if on_terminal() else _Lines
        self._shown = kind(self._progress(), self._pending.total())

    def _advance(self, event: Answered) -> None:
        assert self._shown is not None
        cell = event.cell
        self._seen[cell] += event.images
        self._right[cell] += event.right
        self._pending[cell] -= event.images
        if not self._pending[cell]:
            del self._pending[cell]
        top1 = f", top-1 so far {100 * self._right[cell] / self._seen[cell]:.1f}" if cell.condition != FOREIGN else ""
        text = f"{self._progress()}, {cell.condition}, {cell.method}{top1}"
        self._shown.advance(event.images, text)

    def _progress(self) -> str:
        return f"cell {self._cells - len(self._pending)}/{self._cells}"


class _Bar:
    def __init__(self, text: str, total: int) -> None:
        self._bar: tqdm[Any] = tqdm(
            desc=text,
            total=total,
            unit="image",
            dynamic_ncols=True,
            bar_format="{desc} |{bar}| {n_fmt}/{total_fmt} images, {rate_fmt}, {remaining} left",
        )

    def note(self, text: str) -> None:
        self._bar.write(text, file=self._bar.fp)

    def advance(self, images: int, text: str) -> None:
        self._bar.set_description_str(text, refresh=False)
        self._bar.update(images)

    def close(self) -> None:
        self._bar.close()


class _Lines:
    def __init__(self, text: str, total: int) -> None:
        self._text, self._total, self._done = text, total, 0
        self._started = self._said = time.monotonic()

    def note(self, text: str) -> None:
        with suppress(OSError, ValueError, AttributeError):  # closed, or full: a run does not end for want of progress
            print(text, file=sys.stderr, flush=True)

    def advance(self, images: int, text: str) -> None:
        self._done += images
        self._text = text
        if time.monotonic() - self._said >= LINE_EVERY_S:
            self._say()

    def close(self) -> None:
        self._say()

    def _say(self) -> None:
        self._said = time.monotonic()
        seconds = self._said - self._started
        rate = self._done / seconds if seconds > 0 else 0.0
        left = f", {tqdm.format_interval((self._total - self._done) / rate)} left" if rate else ""
        self.note(f"{self._text}: {self._done}/{self._total} images, {rate:.1f} images/s{left}")
