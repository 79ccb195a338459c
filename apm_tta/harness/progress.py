"""The progress bar: cells, images, images a second, time left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tqdm import tqdm

from apm_tta.harness.plan import Cell, Work


class Progress:
    """Counts answers (one image under one method) while they are computed.

    Args:
        cells: how many the run has, finished ones included.
        work: those shards and streams that are still to be computed.
        quiet: no bar.
    """

    def __init__(self, cells: int, work: Sequence[Work], quiet: bool) -> None:
        self._cells = cells
        self._pending: Counter[Cell] = Counter()
        for unit in work:
            for cell in unit.cells:
                self._pending[cell] += unit.answers(cell)
        self._bar = tqdm(
            desc=self._done(),
            total=self._pending.total(),
            disable=quiet,
            unit="image",
            dynamic_ncols=True,
            bar_format="{desc} |{bar}| {n_fmt}/{total_fmt} images, {rate_fmt}, {remaining} left",
        )

    def advance(self, cell: Cell, images: int) -> None:
        """``images`` more answers of ``cell`` are there."""
        self._pending[cell] -= images
        if not self._pending[cell]:
            del self._pending[cell]
        self._bar.set_description_str(f"{self._done()}, {cell.condition}, {cell.method}", refresh=False)
        self._bar.update(images)

    def close(self) -> None:
        """Leaves the bar as it is."""
        self._bar.close()

    def _done(self) -> str:
        return f"cell {self._cells - len(self._pending)}/{self._cells}"
