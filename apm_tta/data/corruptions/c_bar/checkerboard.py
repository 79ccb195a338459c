"""Grey squares of a board."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from apm_tta.data.corruptions.apply import Generator, corruption
from apm_tta.data.corruptions.c_bar.square import coordinates, seeded, side_of, strength

GREY = 128


@corruption("c-bar", imagenet=(2.0, 3.0, 4.0, 5.0, 6.0), cifar=(1.0, 2.0, 3.0, 4.0, 5.0))
def checkerboard_cutout(image: Image.Image, parameter: float, rng: Generator) -> NDArray[np.uint8]:
    """Grey out a drawn share of the black squares of a board that is turned by a drawn angle."""
    side, angle = side_of(image), rng.uniform(0, 2 * np.pi)
    scale = max(rng.uniform(0.1, 0.25) * side, 1)
    fields = int(4 * side // scale)
    chosen = seeded(rng).uniform(size=(fields, fields)) < strength(parameter, 1.0)
    down, across = coordinates(image)
    row = (np.cos(angle) * down + np.sin(angle) * across) / scale
    column = (-np.sin(angle) * down + np.cos(angle) * across) / scale
    black = (row % 2).astype(int) == (column % 2).astype(int)
    # Numbers of fields are cut off towards 0, and negative ones count from the end.
    greyed = black & chosen[row.astype(int), column.astype(int)]
    return np.where(greyed[..., None], np.uint8(GREY), np.asarray(image))
