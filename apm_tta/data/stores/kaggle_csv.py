"""ImageNet's validation images as Kaggle ships them: a flat folder and ``LOC_val_solution.csv``."""

from __future__ import annotations

import csv
from collections.abc import Mapping

from apm_tta.data.stores.base import STORES
from apm_tta.data.stores.flat import FlatStore
from apm_tta.errors import UserError

_HEADER = ["ImageId", "PredictionString"]


@STORES.register("kaggle-csv")
class KaggleStore(FlatStore):
    """A line is ``image,synset x y x y``: name without suffix, then a synset and a box for each object in it."""

    form = "images beside LOC_val_solution.csv"
    list_files = ("LOC_val_solution.csv",)

    def parse(self) -> Mapping[str, str]:
        path = self.place / self.list_file
        folders: dict[str, str] = {}
        lines: dict[str, int] = {}
        for number, row in enumerate(csv.reader(self.read_text(self.list_file).splitlines()), 1):
            if number == 1 and row != _HEADER:
                raise UserError(f"{path} begins with {','.join(row)!r}, expected {','.join(_HEADER)!r}")
            if number == 1 or not row:
                continue
            synsets = set(row[1].split()[::5]) if len(row) == 2 else set()
            if len(synsets) != 1:
                raise UserError(f"{path}, line {number}: expected image,synset and box, found {','.join(row)[:80]!r}")
            if row[0] in folders:
                raise UserError(f"{path} lists {row[0]} twice, in lines {lines[row[0]]} and {number}; keep one")
            lines[row[0]] = number
            folders[row[0]] = synsets.pop()
        return folders
