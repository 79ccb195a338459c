"""Images of which several answers are right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class FurtherLabels:
    """The right classes of some of n images besides their labels.

    Attributes:
        rows: of the images, ``(m,)``, one for each further class.
        classes: that are right too, ``(m,)``.
    """

    rows: Ints
    classes: Ints

    @classmethod
    def of(cls, lists: pa.ChunkedArray) -> FurtherLabels | None:
        """Read the column ``other_labels``; None where every image has one right class."""
        if lists.null_count == len(lists):
            return None
        column = lists.combine_chunks()
        return cls(pc.list_parent_indices(column).to_numpy(), pc.list_flatten(column).to_numpy().astype(np.int64))

    def among(self, rows: Ints, classes: Ints) -> Bools:
        """Return whether each class, of the image in that row, is one of its further right ones."""
        stride = 1 + max((int(each.max(initial=0)) for each in (classes, self.classes)), default=0)
        found: Bools = np.isin(rows * stride + classes, self.rows * stride + self.classes)
        return found

    def by_id(self, ids: pa.Array) -> dict[Any, frozenset[int]]:
        """Return the further classes of the images that have some, by their ids, ``(n,)``."""
        found: dict[Any, frozenset[int]] = {}
        for row, label in zip(self.rows, self.classes, strict=True):
            key = ids[int(row)].as_py()
            found[key] = found.get(key, frozenset()) | {int(label)}
        return found
