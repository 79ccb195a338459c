"""Charts as inline SVG: coloured by CSS variables, so that they follow the page into dark mode.

A chart is for sighted readers; the page has its numbers in a table below it. Methods differ in shape as well as in
colour, and the legend is part of the page's text, so that it can be read on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from apm_tta.report.html.axes import Axis
from apm_tta.wording import visible

WIDTH, HEIGHT = 640, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 32, 16, 52
_LETTER_WIDTH = 7.2  # pixels, at a font size of 12 pixels
_MOST_MARKS = 12  # a line with more points than this has marks only at its ends

REFERENCE = -1  # the colour of a series that is not a method
_COLOURS = 11
_SHAPES = (
    "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z",  # circle
    "M-4.5-4.5h9v9h-9z",  # square
    "M0-6l6 6l-6 6l-6-6z",  # diamond
    "M0-5.5l5.5 10h-11z",  # triangle
    "M0 5.5l5.5-10h-11z",  # triangle upside down
    "M-2-6h4v4h4v4h-4v4h-4v-4h-4v-4h4z",  # plus
    "M-6-3l3-3l3 3l3-3l3 3l-3 3l3 3l-3 3l-3-3l-3 3l-3-3l3-3z",  # cross
)


@dataclass(frozen=True)
class Series:
    """One line or one group of points.

    Attributes:
        name: name in the legend.
        points: ``(x, y)`` of every point.
        intervals: ``(low, high)`` of every y; empty for none.
        colour: index of a colour and of a shape; ``REFERENCE`` for a series that is not a method and has no marks.
        dashed: whether the line is dashed.
        connected: whether a line connects the points.
    """

    name: str
    points: Sequence[tuple[float, float]]
    intervals: Sequence[tuple[float, float]] = ()
    colour: int = 0
    dashed: bool = False
    connected: bool = True

    @property
    def variable(self) -> str:
        """CSS variable of the series' colour."""
        return "var(--reference)" if self.colour == REFERENCE else f"var(--series-{self.colour % _COLOURS})"

    @property
    def shape(self) -> str:
        """SVG path of the series' mark, around (0, 0)."""
        return _SHAPES[self.colour % len(_SHAPES)]


def plot(series: Sequence[Series], x: Axis, y: Axis, title: str, description: str) -> Markup:
    """Draw lines or points with their intervals and a legend below; ``WIDTH`` wide, or as wide as a narrower page."""
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    parts: list[Markup] = []
    for tick in y.ticks:
        at = y.place(tick, bottom, _TOP)
        parts += [_line(_LEFT, at, right, at, "grid"), _text(_LEFT - 9, at + 4, f"{tick:g}", "end")]
    for tick in x.ticks:
        at = x.place(tick, _LEFT, right)
        parts += [_line(at, bottom, at, bottom + 4, "axis"), _text(at, bottom + 20, f"{tick:g}", "middle")]
    parts.append(_line(_LEFT, bottom, right, bottom, "axis"))
    parts.append(_text((_LEFT + right) / 2, HEIGHT - 6, x.label, "middle"))
    parts.append(
        Markup(
            '<text class="label" text-anchor="middle" transform="translate(16 {:.1f}) rotate(-90)">{}</text>'
        ).format((_TOP + bottom) / 2, y.label)
    )
    for one in series:
        parts += _series(one, x, y, bottom)
    chart = _svg(parts, WIDTH, HEIGHT, title, description, "plot")
    return chart + Markup('<ul class="legend">') + Markup("").join(map(_legend, series)) + Markup("</ul>")


def heat_map(rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]], title: str) -> Markup:
    """Draw percentages as shades, each with its number; as wide as its columns need, so that it may have to scroll."""
    left = 16 + _LETTER_WIDTH * max((len(name) for name in rows), default=0)
    longest = _LETTER_WIDTH * max((len(name) for name in columns), default=0)
    top, width, height = 20 + 0.87 * longest, 44, 26  # names at 60 degrees
    parts: list[Markup] = []
    for place, name in enumerate(columns):
        parts.append(
            Markup('<text class="label" transform="translate({:.1f} {:.1f}) rotate(-60)">{}</text>').format(
                left + width * (place + 0.5) + 4, top - 6, name
            )
        )
    for index, (name, cells) in enumerate(zip(rows, values, strict=True)):
        y = top + height * index
        parts.append(_text(left - 8, y + height / 2 + 4, name, "end"))
        for place, value in enumerate(cells):
            x = left + width * place
            if not math.isnan(value):
                parts.append(
                    Markup(
                        '<rect x="{:.1f}" y="{:.1f}" width="{}" height="{}" class="shade" style="--share:{:.3f}">'
                        "<title>{}, {}: {:.1f} %</title></rect>"
                    ).format(x + 1, y + 1, width - 2, height - 2, value / 100, name, columns[place], value)
                )
            label = "n/a" if math.isnan(value) else f"{value:.0f}"
            parts.append(_text(x + width / 2, y + height / 2 + 4, label, "middle", "label value"))
    description = f"{len(rows)} methods by {len(columns)} columns; the stronger the shade, the more right answers."
    full_width = left + width * len(columns) + 0.5 * longest
    return _svg(parts, full_width, top + height * len(rows) + 8, title, description, "natural")


def bars(values: Mapping[str, float], colours: Sequence[int], title: str, description: str) -> Markup:
    """Draw percentages by name as horizontal bars from 0 to 100."""
    left, full_width, height = 16 + _LETTER_WIDTH * max(map(len, values), default=0), 260, 26
    parts: list[Markup] = []
    for index, (name, value) in enumerate(values.items()):
        y = 8 + height * index
        width = full_width * value / 100
        colour = Series(name, [], colour=colours[index]).variable
        parts.append(_text(left - 8, y + 16, name, "end"))
        parts.append(
            Markup('<rect x="{:.1f}" y="{}" width="{:.1f}" height="16" style="fill:{}"/>').format(
                left, y + 3, width, colour
            )
        )
        parts.append(_text(left + width + 6, y + 16, f"{value:.1f} %", "start"))
    return _svg(parts, left + full_width + 64, 16 + height * len(values), title, description, "natural")


def _series(one: Series, x: Axis, y: Axis, bottom: float) -> list[Markup]:
    places = [(x.place(a, _LEFT, WIDTH - _RIGHT), y.place(b, bottom, _TOP)) for a, b in one.points]
    parts = []
    if one.connected and len(places) > 1:
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        parts.append(
            Markup('<polyline points="{}" class="curve{}" style="stroke:{}"/>').format(
                path, " dashed" if one.dashed else "", one.variable
            )
        )
    for (at, _), (low, high) in zip(places, one.intervals, strict=False):
        bottom_end, top_end = y.place(low, bottom, _TOP), y.place(high, bottom, _TOP)
        parts.append(
            Markup('<path d="M{0:.1f} {1:.1f}V{2:.1f}m-4 0h8m-8 {3:.1f}h8" class="curve" style="stroke:{4}"/>').format(
                at, bottom_end, top_end, bottom_end - top_end, one.variable
            )
        )
    marked = range(len(places)) if len(places) <= _MOST_MARKS else (0, len(places) - 1)
    for index in marked if one.colour != REFERENCE else ():
        (a, b), (value_x, value_y) = places[index], one.points[index]
        parts.append(
            Markup(
                '<path d="{}" transform="translate({:.1f} {:.1f})" class="mark" style="fill:{}">'
                "<title>{}: {:.4g}, {:.4g}</title></path>"
            ).format(one.shape, a, b, one.variable, one.name, value_x, value_y)
        )
    return parts


def _legend(one: Series) -> Markup:
    line = Markup('<path d="M-14 0H14" class="curve{}" style="stroke:{}"/>').format(
        " dashed" if one.dashed else "", one.variable
    )
    mark = Markup('<path d="{}" class="mark" style="fill:{}"/>').format(one.shape, one.variable)
    key = (line if one.connected else Markup("")) + (mark if one.colour != REFERENCE else Markup(""))
    return Markup('<li><svg viewBox="-15 -8 30 16" aria-hidden="true">{}</svg>{}</li>').format(key, visible(one.name))


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return Markup('<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" class="{}"/>').format(x1, y1, x2, y2, kind)


def _text(x: float, y: float, text: str, anchor: str, kind: str = "label") -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" class="{}">{}</text>').format(
        x, y, anchor, kind, visible(text)
    )


def _svg(parts: Sequence[Markup], width: float, height: float, title: str, description: str, kind: str) -> Markup:
    head = Markup(
        '<svg role="img" viewBox="0 0 {0:.0f} {1:.0f}" width="{0:.0f}" height="{1:.0f}" class="{2}">'
        "<title>{3}</title><desc>{4}</desc>"
    ).format(width, height, kind, title, description)
    return head + Markup("").join(parts) + Markup("</svg>")
