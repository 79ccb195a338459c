"""The key of a row among those of its cell: the image's id, and where a stream shows images several times its position.

Rows of earlier versions have no position; they are of streams that show every image once, and their key is the id.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

SORTED = [("id", "ascending"), ("position", "ascending")]
"""The order in which rows of two files are compared."""

Key = tuple[str, int | None]
"""Id and position of a row."""


def row_keys(table: pa.Table) -> list[Key]:
    """Return the key of every row."""
    return list(zip(table["id"].to_pylist(), table["position"].to_pylist(), strict=True))


def has_positions(table: pa.Table) -> bool:
    """Return whether rows state their positions: either all or none of a cell's do."""
    return bool(table["position"].null_count < len(table))


def equal_key(table: pa.Table) -> str | None:
    """Name a key that two rows of one cell share; None where all keys differ.

    A position is of one row alone; a row without one among rows that have one could be any of the image's.
    """
    name = "position" if has_positions(table) else "id"
    column: Any = table[name]
    if name == "position" and not column.null_count:
        if not (np.diff(np.sort(column.to_numpy())) == 0).any():
            return None
    elif name == "id" and pc.count_distinct(column).as_py() == len(column):
        return None
    counted = pc.value_counts(column)
    twice = counted.filter(pc.greater(pc.struct_field(counted, "counts"), 1))
    value = twice[0]["values"].as_py() if len(twice) else None
    row = pc.index(pc.is_null(column), True) if value is None else pc.index(column, value)
    image = table["id"][row.as_py()].as_py()
    return f"image {image}" if name == "id" else f"image {image} at position {value}"
