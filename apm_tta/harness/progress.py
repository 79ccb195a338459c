"""The progress bar: cells, images, images a second, time left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tqdm import tqdm

from apm_tta.harness.plan import Cell, Shard


class Progress:
    """Counts answers (one image under one method) while shards are computed.

    Args:
        cells: how many the run has, finished ones included.
        shards: those that are still to be computed.
        quiet: no bar.
    """

    def __init__(self, cells: int, shards: Sequence[Shard], quiet: bool) -> None:
        self._cells = cells
        self._pending: Counter[Cell] = Counter()
        for shard in shards:
            for cell in shard.cells:
                self._pending[cell] += shard.stop - shard.start
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
