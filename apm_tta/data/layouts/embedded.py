"""The layout of the images that the package carries."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from apm_tta.data.cards import DatasetCard
from apm_tta.data.embedded import IMAGES_FILE
from apm_tta.data.layouts.arrays import ArrayLayout
from apm_tta.data.layouts.base import LAYOUTS, Entry, NoOptions, Survey
from apm_tta.data.sample import Condition
from apm_tta.errors import UserError


@LAYOUTS.register("embedded")
class EmbeddedLayout(ArrayLayout[NoOptions]):
    """The archive of images in ``apm_tta.data.embedded``."""

    carried = True
    row_shape = (28, 28)

    def __init__(self, card: DatasetCard, data_root: Path | None) -> None:
        if data_root is not None:
            raise UserError(f"{card.name} is carried by the package; leave out --data-root {data_root}", exit_code=2)
        super().__init__(card, IMAGES_FILE.parent)
        status = IMAGES_FILE.stat()
        self._pixels, self._entries = _archive(IMAGES_FILE, status.st_mtime_ns, status.st_size)
        self._rows = {entry.id: row for row, entry in enumerate(self._entries)}

    def fits(self, folder: Path) -> bool:
        return folder == IMAGES_FILE.parent

    def other_set_problems(self, wrong: bool) -> list[str]:
        """Return nothing: no other data set can lie where the package has its own."""
        return []

    def walk(self, condition: Condition) -> Survey:
        return Survey(list(self._entries))

    def row(self, sample_id: str) -> NDArray[np.uint8]:
        found: NDArray[np.uint8] = self._pixels[self._rows[sample_id]]
        return found

    def files(self, condition: Condition, entries: Sequence[Entry]) -> list[Path]:
        return [IMAGES_FILE]


@cache
def _archive(path: Path, changed: int, size: int) -> tuple[NDArray[np.uint8], tuple[Entry, ...]]:
    """Unpack the archive once, and again when its file has changed: a run and its report open it several times."""
    with np.load(path, allow_pickle=False) as arrays:
        pixels, labels, positions = arrays["images"], arrays["labels"], arrays["positions"]
    pixels.flags.writeable = False
    pairs = zip(positions, labels, strict=True)
    return pixels, tuple(Entry(f"test/{position:05d}", int(label)) for position, label in pairs)
