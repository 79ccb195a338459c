"""Pictures of one image's grids of features: a strip, an animation, and the numbers of both."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from apm_tta.islands.agreement import Agreement, agreement, format_cosine
from apm_tta.islands.animation import Format, draw_frame, encode_animation
from apm_tta.islands.colours import KINDS, MOST_EMBEDDED, Kind, colours, joint_shadings
from apm_tta.islands.number_tables import Value, as_csv
from apm_tta.islands.patience import refuse_long, seconds_of_merging
from apm_tta.islands.picture_folder import PictureFolder
from apm_tta.islands.regions import ALIKE
from apm_tta.islands.strip import Chart, Column, draw_strip

_FRAME_MS = 700
Colours = Literal["auto", "all", "pca"]
DIGITS = 12
"""Number of a digest's digits that captions show."""


@dataclass(frozen=True)
class Drawing:
    """Settings for drawing grids.

    Attributes:
        explained: share of the features' variance that islands explain.
        seed: seed of t-SNE.
        animation: file format; None for no animation.
        colours: which embeddings are drawn: ``all``, ``pca``, or ``auto``, all that the size of the grid allows.
        resolution: locations per side; None for the grid's own.
        fine: the way to features between the grid's locations; see ``apm_tta.islands.fine``.
        long: whether it may take more than ten minutes.
    """

    explained: float
    seed: int = 0
    animation: Format | None = "gif"
    colours: Colours = "auto"
    resolution: int | None = None
    fine: str = "bilinear"
    long: bool = False

    @property
    def resolution_note(self) -> str:
        """What a title says of the resolution; empty for the grid's own."""
        return f", {self.resolution} x {self.resolution} by {self.fine}" if self.resolution else ""

    def kinds(self, grids: Iterable[Tensor]) -> list[Kind]:
        """Return the embeddings to draw ``grids`` by."""
        small = all(max(grid.shape[:2]) <= MOST_EMBEDDED for grid in grids)
        return list(KINDS) if self.colours == "all" or (self.colours == "auto" and small) else ["pca"]


def agreement_cells(measured: Agreement) -> dict[str, Value]:
    """Return an agreement as cells of a row."""
    return {
        "neighbours": measured.neighbours,
        "any two": measured.any_two,
        "beyond": measured.excess,
        "islands": measured.islands,
        "largest %": 100 * measured.largest,
    }


def draw(
    folder: PictureFolder,
    name: str,
    title: str,
    image: Image.Image,
    grids: Mapping[str, Tensor],
    drawing: Drawing,
    chart: Chart | None = None,
    extra_cells: Sequence[Mapping[str, Value]] | None = None,
    extra_pictures: Mapping[str, Sequence[npt.NDArray[np.float64]]] | None = None,
    factors: Sequence[int] | None = None,
    one_basis: bool = False,
) -> list[dict[str, Value]]:
    """Write ``NAME.png``, ``NAME.csv`` and the animation; return the rows of the CSV.

    Args:
        folder: where the files are written.
        name: name of the files.
        title: title of the strip.
        image: RGB, shown as the square from which the features come.
        grids: by heading, in order, ``(h, w, C)``; the headings are the first column of the numbers.
        drawing: how grids are drawn.
        chart: chart below the strip; None for none.
        extra_cells: further cells of every grid's row, before its agreement.
        extra_pictures: further rows of pictures, RGB ``(h, w, 3)``, by what they show, one picture per grid.
        factors: locations per side for each of the original grid, by grid; None for 1.
        one_basis: whether the principal components are those of all grids together.

    Raises:
        UserError: when finer grids than their own take more than ten minutes, and ``drawing`` does not allow it.
    """
    shown = list(grids.values())
    if drawing.resolution and not drawing.long:
        refuse_long(sum(seconds_of_merging(len(grid), grid.shape[-1]) for grid in shown), drawing.long)
    agreements = [
        agreement(grid, drawing.explained, factor)
        for grid, factor in zip(shown, factors or [1] * len(shown), strict=True)
    ]
    square = as_square(image)
    shadings = {kind: colours(shown, kind, drawing.seed) for kind in drawing.kinds(shown)}
    if one_basis:
        shadings["pca"] = joint_shadings(shown)
    pictures = {KINDS[kind]: [one.picture for one in shading] for kind, shading in shadings.items()}
    pictures |= {name: list(row) for name, row in (extra_pictures or {}).items()}
    rows: list[dict[str, Value]] = [
        {
            "of": heading,
            "grid": f"{grid.shape[0]} x {grid.shape[1]}",
            **extra,
            **agreement_cells(one),
            **{f"{KINDS[kind]}: trust": found[index].trustworthiness for kind, found in shadings.items()},
        }
        for index, ((heading, grid), one, extra) in enumerate(
            zip(grids.items(), agreements, extra_cells or [{}] * len(agreements), strict=True)
        )
    ]
    columns = [
        Column(
            f"{heading}\nneighbours {format_cosine(one.neighbours)}\nislands {one.islands}",
            {name: row[index] for name, row in pictures.items()},
        )
        for index, (heading, one) in enumerate(zip(grids, agreements, strict=True))
    ]
    folder.write(f"{name}.png", draw_strip(title, square, columns, chart))
    folder.remove_animations(name)
    if drawing.animation is not None:
        frames = [
            draw_frame(
                [square, *(row[index] for row in pictures.values())],
                f"{heading}: neighbours' cosine {format_cosine(one.neighbours)}, islands {one.islands}\n"
                f"the image, {', '.join(pictures)}",
            )
            for index, (heading, one) in enumerate(zip(grids, agreements, strict=True))
        ]
        folder.write(f"{name}.{drawing.animation}", encode_animation(frames, drawing.animation, _FRAME_MS))
    folder.write(f"{name}.csv", as_csv(rows))
    return rows


def as_square(image: Image.Image) -> Image.Image:
    """Return the image as the square from which its features come."""
    side = max(image.size)
    return image.resize((side, side), Image.Resampling.BICUBIC)


def legend(drawing: Drawing) -> str:
    """Explain the numbers of a table in sentences."""
    return (
        "Neighbours: mean cosine of locations one cell of the grid apart; any two: that of any two locations; beyond: "
        "the difference. Islands: the fewest connected regions, merged by Ward's method, whose means explain "
        f"{drawing.explained:.0%} of the features' variance, or all but a mean squared distance of {ALIKE:g}; largest: "
        "share of the locations in the largest island. Trust: trustworthiness of the colours, 1 where locations of "
        "similar colours have similar features. Pictures show differences however small they are: the numbers show "
        "their size."
    )


def teacher_title(name: str, identity: Mapping[str, str]) -> str:
    """Name a teacher in a caption: its name without the path of a local file, and the digest of its weights."""
    prefix, colon, last = name.rpartition(":")
    shown = prefix if colon and (os.sep in last or Path(last).is_file()) else name
    return f"{shown} (weights {identity['weights_sha256'][:DIGITS]})"
