"""Grids of features of one image as pictures: a strip, an animation, and the numbers of both."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from apm_tta.islands.agreement import Agreement, agreement, said_cosine
from apm_tta.islands.animation import Format, animation, frame
from apm_tta.islands.colours import KINDS, colours
from apm_tta.islands.number_tables import Value, as_csv
from apm_tta.islands.picture_folder import PictureFolder
from apm_tta.islands.strip import Chart, Column, strip

_FRAME_MS = 700
DIGITS = 12
"""Of a digest, as captions show it."""


@dataclass(frozen=True)
class Drawing:
    """How grids are drawn.

    Attributes:
        threshold: cosine from which neighbours belong to one island.
        seed: of t-SNE.
        animation: kind of file; None for no animation.
    """

    threshold: float
    seed: int = 0
    animation: Format | None = "gif"


def numbers(found: Agreement) -> dict[str, Value]:
    """An agreement as cells of a row."""
    return {
        "neighbours": found.neighbours,
        "any two": found.any_two,
        "beyond": found.beyond,
        "islands": found.islands,
        "largest %": 100 * found.largest,
    }


def draw(
    folder: PictureFolder,
    name: str,
    title: str,
    image: Image.Image,
    grids: Mapping[str, Tensor],
    drawing: Drawing,
    chart: Chart | None = None,
    more: Sequence[Mapping[str, Value]] | None = None,
    beside: Mapping[str, Sequence[npt.NDArray[np.float64]]] | None = None,
) -> list[dict[str, Value]]:
    """Writes ``NAME.png``, ``NAME.csv`` and the animation; returns the rows of the CSV.

    Args:
        folder: takes the files.
        name: of the files.
        title: of the strip.
        image: RGB, shown as the square that the features are of.
        grids: by heading, in their order, ``(h, w, C)``; the headings are the first column of the numbers.
        drawing: how.
        chart: below the strip; None for none.
        more: further cells of every grid's row, before its agreement.
        beside: further rows of pictures, RGB ``(h, w, 3)``, by what they show, a picture a grid.
    """
    found = [agreement(grid, drawing.threshold) for grid in grids.values()]
    square = squared(image)
    shadings = {kind: colours(list(grids.values()), kind, drawing.seed) for kind in KINDS}
    pictures = {KINDS[kind]: [one.picture for one in shading] for kind, shading in shadings.items()}
    pictures |= {name: list(row) for name, row in (beside or {}).items()}
    rows: list[dict[str, Value]] = [
        {
            "of": heading,
            "grid": f"{grid.shape[0]} x {grid.shape[1]}",
            **extra,
            **numbers(one),
            **{f"{KINDS[kind]}: trust": shadings[kind][index].trustworthiness for kind in KINDS},
        }
        for index, ((heading, grid), one, extra) in enumerate(
            zip(grids.items(), found, more or [{}] * len(found), strict=True)
        )
    ]
    columns = [
        Column(
            f"{heading}\nneighbours {said_cosine(one.neighbours)}\nislands {one.islands}",
            {name: row[index] for name, row in pictures.items()},
        )
        for index, (heading, one) in enumerate(zip(grids, found, strict=True))
    ]
    folder.write(f"{name}.png", strip(title, square, columns, chart))
    if drawing.animation is not None:
        frames = [
            frame(
                [square, *(row[index] for row in pictures.values())],
                f"{heading}: neighbours' cosine {said_cosine(one.neighbours)}, islands {one.islands}\n"
                f"the image, {', '.join(pictures)}",
            )
            for index, (heading, one) in enumerate(zip(grids, found, strict=True))
        ]
        folder.write(f"{name}.{drawing.animation}", animation(frames, drawing.animation, _FRAME_MS))
    folder.write(f"{name}.csv", as_csv(rows))
    return rows


def squared(image: Image.Image) -> Image.Image:
    """The image as the square that its features are of."""
    side = max(image.size)
    return image.resize((side, side), Image.Resampling.BICUBIC)


def legend(threshold: float) -> str:
    """What the numbers of a table are, in sentences."""
    return (
        "Neighbours: mean cosine of locations that share a side; any two: of any two locations; beyond: the "
        f"difference. Islands: parts joined where neighbours have a cosine of at least {threshold:g}; largest: its "
        "share of the locations. Trust: of the colours; 1 where the locations of like colours are those of like "
        "features. Pictures show differences however small they are: the numbers say how large they are."
    )


def titled(name: str, identity: Mapping[str, str]) -> str:
    """A teacher in a caption: its name without the folders of a local file, and the digest of its weights."""
    before, colon, last = name.rpartition(":")
    shown = before if colon and (os.sep in last or Path(last).is_file()) else name
    return f"{shown} (weights {identity['weights_sha256'][:DIGITS]})"
