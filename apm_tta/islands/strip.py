"""One PNG: the image, pictures of its features column by column, and curves below (matplotlib)."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

_SIDE = 1.35  # of a picture, in inches
_DPI = 110
_LETTERS = 13  # of the title per inch
_MAX_SIDE = 320  # pixels of the image's longer side: more would be scaled down on the page
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")  # Okabe and Ito
_STYLES = ("-", "--", "-.", ":")


@dataclass(frozen=True)
class Column:
    """Pictures under one heading.

    Attributes:
        heading: what they show, with its numbers, one per line.
        pictures: by row, RGB ``(h, w, 3)`` in 0 .. 1.
    """

    heading: str
    pictures: Mapping[str, npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Curve:
    """One line of the chart.

    Attributes:
        label: name of the curve, with its unit.
        x: x of every point.
        y: y of every point.
        low: lower end of an interval around every point; empty for none.
        high: upper end, likewise.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True)
class Chart:
    """Curves over one axis; those on the right have a scale of their own.

    Attributes:
        x_label: label of the axis that they share.
        left: curves on the left scale.
        right: curves on the right scale.
        marks: positions on the axis that the columns show.
        whole: whether the axis has ticks at whole numbers only.
    """

    x_label: str
    left: Sequence[Curve]
    right: Sequence[Curve] = field(default=())
    marks: Sequence[float] = field(default=())
    whole: bool = True


def draw_strip(title: str, image: Image.Image | None, columns: Sequence[Column], chart: Chart | None = None) -> bytes:
    """Draw the picture as PNG; the same content and release of matplotlib yield the same bytes.

    Args:
        title: title at the top, of one or more lines.
        image: RGB image at the left; None for none.
        columns: columns from left to right; all have the rows of the first.
        chart: chart at the bottom; None for none.
    """
    from matplotlib.figure import Figure

    rows = list(columns[0].pictures) if columns else []
    first = int(image is not None)
    width = _SIDE * (len(columns) + first) + 1.6
    chart_height = 1.9 if chart else 0.0
    height = (
        _SIDE * max(1, len(rows))
        + 0.5 * (1 + max((each.heading.count("\n") for each in columns), default=0))
        + chart_height
    )
    figure = Figure(figsize=(max(width, 5.5), height + 0.3), dpi=_DPI, layout="constrained")
    figure.suptitle(textwrap.fill(title, int(_LETTERS * figure.get_figwidth())), fontsize=9)
    upper: Any = figure
    if chart and columns:
        halves: Any = figure.subfigures(2, 1, height_ratios=(height - chart_height, chart_height))
        upper = halves[0]
        _draw(halves[1].subplots(), chart)
    elif chart:
        _draw(figure.subplots(), chart)
    if columns:
        axes = upper.subplots(len(rows), len(columns) + first, squeeze=False)
        for axis in axes.flat:
            axis.axis("off")
        if image is not None:
            _show(axes[0, 0], _shrink(image), "the image")
        for place, column in enumerate(columns):
            for row, name in enumerate(rows):
                _show(axes[row, place + first], column.pictures[name], column.heading if row == 0 else "")
        for row, name in enumerate(rows):
            _label_row(axes[row, first], name)
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()


def _shrink(image: Image.Image) -> npt.NDArray[np.float64]:
    small = image.copy()
    small.thumbnail((_MAX_SIDE, _MAX_SIDE), Image.Resampling.LANCZOS)
    pixels: npt.NDArray[np.float64] = np.asarray(small, dtype=np.float64) / 255
    return pixels


def _show(axis: Any, picture: npt.NDArray[np.float64], heading: str) -> None:
    axis.imshow(np.clip(picture, 0, 1), interpolation="nearest")
    if heading:
        axis.set_title(heading, fontsize=7)


def _label_row(axis: Any, name: str) -> None:
    axis.text(-0.06, 0.5, name, transform=axis.transAxes, rotation=90, va="center", ha="right", fontsize=7)


def _draw(axis: Any, chart: Chart) -> None:
    right: Any = axis.twinx() if chart.right else None
    lines = []
    for index, curve in enumerate([*chart.left, *chart.right]):
        own = axis if index < len(chart.left) else right
        colour, style = _COLOURS[index % len(_COLOURS)], _STYLES[index % len(_STYLES)]
        marker = "o" if len(curve.x) <= 30 else ""
        lines += own.plot(curve.x, curve.y, style, color=colour, label=curve.label, linewidth=1.2, marker=marker, ms=3)
        if len(curve.low):
            own.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
    for mark in chart.marks:
        axis.axvline(mark, color="#999999", linewidth=0.5, linestyle=":")
    axis.xaxis.get_major_locator().set_params(integer=chart.whole)
    axis.set_xlabel(chart.x_label, fontsize=8)
    axis.set_ylabel(_axis_label(chart.left), fontsize=8)
    if right is not None:
        right.set_ylabel(_axis_label(chart.right), fontsize=8)
        right.tick_params(labelsize=7)
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.25, linewidth=0.5)
    axis.legend(handles=lines, fontsize=7, loc="best")


def _axis_label(curves: Sequence[Curve]) -> str:
    return curves[0].label if len(curves) == 1 else ""
