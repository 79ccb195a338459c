"""An array of images and an array of labels: CIFAR-10.1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from apm_tta.data.cards import DatasetCard
from apm_tta.data.layouts.arrays import IMAGE, WrongArray, check_labels, expect, numbered, open_npy, row_of
from apm_tta.data.layouts.base import LAYOUTS, Entry, Layout, Survey
from apm_tta.data.layouts.images import DamagedImage
from apm_tta.data.sample import Condition


@LAYOUTS.register("npy-pair")
class NpyPairLayout(Layout):
    """The files that the options ``data`` ``(N, 32, 32, 3)`` and ``labels`` ``(N,)`` name."""

    def __init__(self, card: DatasetCard, root: Path | None) -> None:
        super().__init__(card, root)
        self._opened: NDArray[Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without the mapped array: a loading process that gets a copy opens its own."""
        return {**self.__dict__, "_opened": None}

    def fits(self, folder: Path) -> bool:
        return (folder / self.card.layout_options.data).is_file()

    def walk(self, condition: Condition) -> Survey:
        path = self.place / self.card.layout_options.labels
        try:
            labels = open_npy(path, self.card.get)
            check_labels(path, labels, len(self.class_list()))
            images = self._images()
            expect(self._data, images, (len(labels), *IMAGE), f"an image for each label of {path.name}")
        except WrongArray as error:
            return Survey(problems=[str(error)])
        return Survey(numbered("test", labels))

    def read(self, sample_id: str) -> Image.Image:
        try:
            images = self._images()
        except WrongArray as error:
            raise DamagedImage(str(error)) from None
        return Image.fromarray(np.asarray(images[row_of(sample_id, len(images))]))

    def files(self, condition: Condition, entries: Sequence[Entry]) -> list[Path]:
        return [self._data, self.place / self.card.layout_options.labels]

    @property
    def _data(self) -> Path:
        return self.place / self.card.layout_options.data

    def _images(self) -> NDArray[Any]:
        if self._opened is None:
            self._opened = open_npy(self._data, self.card.get)
        return self._opened
