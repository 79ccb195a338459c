"""The layout of the handwritten digits that scikit-learn carries."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from apm_tta.data.cards import DatasetCard
from apm_tta.data.layouts.arrays import ArrayLayout, numbered_entries, row_number
from apm_tta.data.layouts.base import LAYOUTS, Entry, NoOptions, Survey
from apm_tta.data.sample import Condition
from apm_tta.errors import UserError

_LEVELS = 16


@LAYOUTS.register("sklearn_digits")
class SklearnDigitsLayout(ArrayLayout[NoOptions]):
    """The images of ``sklearn.datasets.load_digits``: 8 x 8, their 17 levels of grey spread over those of 8 bits."""

    carried = True
    row_shape = (8, 8)

    def __init__(self, card: DatasetCard, data_root: Path | None) -> None:
        if data_root is not None:
            message = f"{card.name} is carried by scikit-learn; leave out --data-root {data_root}"
            raise UserError(message, exit_code=2)
        super().__init__(card, _folder())

    def fits(self, folder: Path) -> bool:
        return folder == _folder()

    def other_set_problems(self, wrong: bool) -> list[str]:
        """Return nothing: no other data set can lie where scikit-learn has its own."""
        return []

    def walk(self, condition: Condition) -> Survey:
        return Survey(numbered_entries("digits", _digits()[1]))

    def row(self, sample_id: str) -> NDArray[np.uint8]:
        pixels = _digits()[0]
        found: NDArray[np.uint8] = pixels[row_number(sample_id, len(pixels))]
        return found

    def files(self, condition: Condition, entries: Sequence[Entry]) -> list[Path]:
        return [_folder() / "digits.csv.gz"]


def _folder() -> Path:
    import sklearn  # here, since it takes as long to import as all else that reads images

    return Path(sklearn.__file__).parent / "datasets" / "data"


@cache
def _digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the images ``(1797, 8, 8)`` and their labels."""
    from sklearn.datasets import load_digits

    found = load_digits()
    pixels = np.rint(found.images * (255 / _LEVELS)).astype(np.uint8)
    pixels.flags.writeable = False
    return pixels, found.target.astype(np.int64)
