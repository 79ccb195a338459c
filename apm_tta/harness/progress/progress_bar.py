"""The progress bar: cells, images, images per second, time left, running top-1."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tqdm import tqdm

from apm_tta.harness.plan import Cell
from apm_tta.harness.progress.events import Answered, Event, Note, Planned


class Progress:
    """A listener that counts answers (one image under one method) while they are computed."""

    def __init__(self) -> None:
        self._cells = 0
        self._pending: Counter[Cell] = Counter()
        self._right: Counter[Cell] = Counter()
        self._seen: Counter[Cell] = Counter()
        self._bar: tqdm[Any] | None = None

    def __call__(self, event: Event) -> None:
        """Show the event."""
        if isinstance(event, Planned):
            self._start(event)
        elif self._bar is None:
            return
        elif isinstance(event, Note):
            self._bar.write(event.text, file=self._bar.fp)
        elif isinstance(event, Answered):
            self._advance(event)

    def close(self) -> None:
        """Close the bar and leave it on screen as it is."""
        if self._bar is not None:
            self._bar.close()

    def _start(self, planned: Planned) -> None:
        self._cells = planned.cells
        for unit in planned.work:
            for cell in unit.cells:
                self._pending[cell] += unit.count_answers(cell)
        self._bar = tqdm(
            desc=self._progress(),
            total=self._pending.total(),
            unit="image",
            dynamic_ncols=True,
            bar_format="{desc} |{bar}| {n_fmt}/{total_fmt} images, {rate_fmt}, {remaining} left",
        )

    def _advance(self, event: Answered) -> None:
        assert self._bar is not None
        cell = event.cell
        self._seen[cell] += event.images
        self._right[cell] += event.right
        self._pending[cell] -= event.images
        if not self._pending[cell]:
            del self._pending[cell]
        top1 = 100 * self._right[cell] / self._seen[cell]
        self._bar.set_description_str(
            f"{self._progress()}, {cell.condition}, {cell.method}, top-1 so far {top1:.1f}", refresh=False
        )
        self._bar.update(event.images)

    def _progress(self) -> str:
        return f"cell {self._cells - len(self._pending)}/{self._cells}"
