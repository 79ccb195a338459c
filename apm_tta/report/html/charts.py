"""Charts as inline SVG: coloured by CSS variables, so that they follow the page into dark mode.

A chart is a picture for those who see it; the page has its numbers as a table below it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 640, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 128, 16, 48
_COLOURS = 12


@dataclass(frozen=True)
class Series:
    """One line or one group of points.

    Attributes:
        name: in the legend.
        points: ``(x, y)``.
        intervals: ``(low, high)`` of every y; empty for none.
        colour: index of a CSS variable.
        dashed: whether the line is.
        joined: whether there is a line at all.
    """

    name: str
    points: Sequence[tuple[float, float]]
    intervals: Sequence[tuple[float, float]] = ()
    colour: int = 0
    dashed: bool = False
    joined: bool = True


@dataclass(frozen=True)
class Axis:
    """One axis.

    Attributes:
        label: with its unit.
        low: smallest value.
        high: largest value.
        ticks: values that are written.
        logarithmic: whether distances are ratios.
    """

    label: str
    low: float
    high: float
    ticks: Sequence[float]
    logarithmic: bool = False

    def place(self, value: float, start: float, stop: float) -> float:
        """Where ``value`` lies between two ends."""
        if self.logarithmic:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return start + share * (stop - start)


def percent_axis(label: str) -> Axis:
    """0 to 100 %."""
    return Axis(label, 0, 100, range(0, 101, 20))


def logarithmic_axis(label: str, values: Sequence[float]) -> Axis:
    """Whole decades around ``values``, which are positive."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)) + 1e-9)
    high = max(high, low + 1)
    return Axis(label, 10.0**low, 10.0**high, [10.0**power for power in range(low, high + 1)], logarithmic=True)


def linear_axis(label: str, values: Sequence[float]) -> Axis:
    """Whole numbers from the smallest to the largest value, at most nine of them written."""
    low, high = min(values), max(max(values), min(values) + 1)
    step = max(1, math.ceil((high - low) / 8))
    return Axis(label, low, high, [low + step * index for index in range(int((high - low) / step) + 1)])


def plot(series: Sequence[Series], x: Axis, y: Axis, title: str, description: str) -> Markup:
    """Lines or points with their intervals and a legend, at most ``WIDTH`` wide and as narrow as the page is."""
    right, bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
    parts: list[Markup] = []
    for tick in y.ticks:
        at = y.place(tick, bottom, _TOP)
        parts.append(_line(_LEFT, at, right, at, "grid"))
        parts.append(_text(_LEFT - 6, at + 4, f"{tick:g}", "end"))
    for tick in x.ticks:
        at = x.place(tick, _LEFT, right)
        parts.append(_line(at, bottom, at, bottom + 4, "axis"))
        parts.append(_text(at, bottom + 18, f"{tick:g}", "middle"))
    parts.append(_line(_LEFT, bottom, right, bottom, "axis"))
    parts.append(_text((_LEFT + right) / 2, HEIGHT - 8, x.label, "middle"))
    parts.append(
        Markup(
            '<text class="label" text-anchor="middle" transform="translate(14 {:.1f}) rotate(-90)">{}</text>'
        ).format((_TOP + bottom) / 2, y.label)
    )
    for index, one in enumerate(series):
        parts += _series(one, x, y, right, bottom)
        at = _TOP + 8 + 18 * index
        parts.append(_mark(one, right + 14, at))
        parts.append(_text(right + 28, at + 4, one.name, "start"))
    return _svg(parts, HEIGHT, title, description)


def heat_map(rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[float]], title: str) -> Markup:
    """Percentages as shades, each with its number."""
    left, top = 96, 110
    width, height = (WIDTH - left - 8) / max(len(columns), 1), 26
    parts: list[Markup] = []
    for place, name in enumerate(columns):
        x = left + width * (place + 0.5)
        parts.append(
            Markup('<text class="label" transform="translate({:.1f} {:.1f}) rotate(-50)">{}</text>').format(
                x, top - 8, name
            )
        )
    for index, (name, cells) in enumerate(zip(rows, values, strict=True)):
        y = top + height * index
        parts.append(_text(left - 8, y + height / 2 + 4, name, "end"))
        for place, value in enumerate(cells):
            x = left + width * place
            if math.isnan(value):
                parts.append(_text(x + width / 2, y + height / 2 + 4, "n/a", "middle"))
                continue
            parts.append(
                Markup(
                    '<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{}" class="shade" style="opacity:{:.2f}"/>'
                ).format(x + 1, y + 1, width - 2, height - 2, 0.05 + 0.6 * value / 100)
            )
            parts.append(_text(x + width / 2, y + height / 2 + 4, f"{value:.0f}", "middle"))
    description = f"{len(rows)} methods by {len(columns)} corruptions; the darker, the more right answers."
    return _svg(parts, top + height * len(rows) + 8, title, description)


def bars(names: Sequence[str], values: Sequence[float], title: str, description: str) -> Markup:
    """Horizontal bars of percentages."""
    left, height = 110, 24
    parts: list[Markup] = []
    for index, (name, value) in enumerate(zip(names, values, strict=True)):
        y = 8 + height * index
        width = (WIDTH - left - 70) * value / 100
        parts.append(_text(left - 8, y + 16, name, "end"))
        parts.append(
            Markup('<rect x="{}" y="{}" width="{:.1f}" height="16" style="fill:var(--series-{})"/>').format(
                left, y + 3, width, index % _COLOURS
            )
        )
        parts.append(_text(left + width + 6, y + 16, f"{value:.1f} %", "start"))
    return _svg(parts, 16 + height * len(names), title, description)


def _series(one: Series, x: Axis, y: Axis, right: float, bottom: float) -> list[Markup]:
    places = [(x.place(a, _LEFT, right), y.place(b, bottom, _TOP)) for a, b in one.points]
    stroke = f"stroke:var(--series-{one.colour % _COLOURS})"
    parts = []
    if one.joined and len(places) > 1:
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        dashes = Markup(' stroke-dasharray="6 4"') if one.dashed else Markup("")
        parts.append(Markup('<polyline points="{}" class="curve" style="{}"{}/>').format(path, stroke, dashes))
    for (at, _), (low, high) in zip(places, one.intervals, strict=False):
        ends = y.place(low, bottom, _TOP), y.place(high, bottom, _TOP)
        parts.append(
            Markup('<line x1="{0:.1f}" x2="{0:.1f}" y1="{1:.1f}" y2="{2:.1f}" class="curve" style="{3}"/>').format(
                at, *ends, stroke
            )
        )
    if not one.joined or len(places) == 1:
        fill = f"fill:var(--series-{one.colour % _COLOURS})"
        for (a, b), (value_x, value_y) in zip(places, one.points, strict=True):
            parts.append(
                Markup(
                    '<circle cx="{:.1f}" cy="{:.1f}" r="5" style="{}"><title>{}: {:.4g}, {:.4g}</title></circle>'
                ).format(a, b, fill, one.name, value_x, value_y)
            )
    return parts


def _mark(one: Series, x: float, y: float) -> Markup:
    dashes = Markup(' stroke-dasharray="4 3"') if one.dashed else Markup("")
    return Markup(
        '<line x1="{:.1f}" x2="{:.1f}" y1="{:.1f}" y2="{:.1f}" class="curve" style="stroke:var(--series-{})"{}/>'
    ).format(x - 8, x + 8, y, y, one.colour % _COLOURS, dashes)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return Markup('<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" class="{}"/>').format(x1, y1, x2, y2, kind)


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" class="label">{}</text>').format(x, y, anchor, text)


def _svg(parts: Sequence[Markup], height: float, title: str, description: str) -> Markup:
    head = Markup('<svg role="img" viewBox="0 0 {} {:.0f}"><title>{}</title><desc>{}</desc>').format(
        WIDTH, height, escape(title), escape(description)
    )
    return head + Markup("").join(parts) + Markup("</svg>")
