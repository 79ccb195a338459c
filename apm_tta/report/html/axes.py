"""Axes of a chart: where a value lies, and which values are labelled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_STEPS = (1, 2, 5, 10)
_INTERVALS = 6  # between labelled values, at most


@dataclass(frozen=True)
class Axis:
    """One axis.

    Attributes:
        label: text of the label, with the unit.
        low: smallest value.
        high: largest value.
        ticks: values that are labelled.
        logarithmic: whether equal distances are equal ratios.
    """

    label: str
    low: float
    high: float
    ticks: Sequence[float]
    logarithmic: bool = False

    def place(self, value: float, start: float, stop: float) -> float:
        """Return the coordinate of ``value`` on an axis drawn from ``start`` to ``stop``."""
        if self.logarithmic:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return start + share * (stop - start)


def percent_axis(label: str, values: Sequence[float] | None = None) -> Axis:
    """Make an axis of percentages: 0 to 100, or the part that holds ``values``, so that small differences show."""
    if not values:
        return Axis(label, 0, 100, range(0, 101, 20))
    step = _step(max(values) - min(values))
    low = max(0, math.floor(min(values) / step) * step)
    high = min(100, math.ceil(max(values) / step) * step)
    if high - low < 2 * step:
        low, high = max(0, low - step), min(100, high + step)
    return Axis(label, low, high, [low + step * index for index in range(round((high - low) / step) + 1)])


def logarithmic_axis(label: str, values: Sequence[float]) -> Axis:
    """Make a logarithmic axis around ``values``, which are positive.

    Ticks are at 1, 2 and 5 times powers of ten, or only at powers of ten where there would be too many.
    """
    first, last = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    marks = [1, 2, 5] if math.log10(max(values) / min(values)) < 2 else [1]
    ticks = [mark * 10.0**power for power in range(first - 1, last + 2) for mark in marks]
    low = max(tick for tick in ticks if tick <= min(values) / 1.02)
    high = min(tick for tick in ticks if tick >= max(values) * 1.02)
    return Axis(label, low, high, [tick for tick in ticks if low <= tick <= high], logarithmic=True)


def linear_axis(label: str, values: Sequence[float]) -> Axis:
    """Make an axis of whole numbers from the smallest to the largest value, with at most nine of them labelled."""
    low, high = min(values), max(max(values), min(values) + 1)
    step = next(mark * 10**power for power in range(10) for mark in _STEPS if mark * 10**power * 8 >= high - low)
    return Axis(label, low, high, [low + step * index for index in range(int((high - low) / step) + 1)])


def _step(span: float) -> float:
    """Return a step of 1, 2 or 5 times a power of ten, at least 1, of which at most ``_INTERVALS`` cover ``span``."""
    return next(mark * 10.0**power for power in range(3) for mark in _STEPS if mark * 10.0**power * _INTERVALS >= span)
