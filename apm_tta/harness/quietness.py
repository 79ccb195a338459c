"""Whether something else ran on a machine while methods were timed there: decided by recorded clocks alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import Field

from apm_tta.configuration import Configuration

LEAST_SHARE = 0.9
"""Of the time that a method is timed, the thread that computes it has a core: on an idle machine nearly all of it."""

MOST_SLOWED = 1.5
"""How many times as long the reference may take as it took at best on the same hardware in the same run.

On a virtual machine that does nothing it wavers too, since its host has other guests: ``pytest -s
benchmarks/test_perf_quiet.py`` prints by how much.
"""

_DIGITS = 4


class Clocks(Configuration):
    """What the clocks said while a method answered the images of one file of records.

    Attributes:
        reference_ms: time of the fixed reference before and after, the mean over all stretches by their length.
        fastest_ms: the shortest of these times.
        processor_share: CPU time of what computes, divided by the wall time of the same stretches.
    """

    reference_ms: float = Field(gt=0)
    fastest_ms: float = Field(gt=0)
    processor_share: float = Field(ge=0)


@dataclass(frozen=True)
class Stretch:
    """A stretch of time in which a method was timed, between two measurements of the reference.

    Attributes:
        seconds: by the wall.
        processor_seconds: of the CPU, in the thread that computes.
        before: milliseconds of the reference, measured last before it.
        after: likewise, measured first after it.
    """

    seconds: float
    processor_seconds: float
    before: float
    after: float


def summarise(stretches: Iterable[Stretch]) -> Clocks | None:
    """Summarise the stretches of a cell, a long one counting more than a short one; None where there is none."""
    known = [each for each in stretches if each.seconds > 0]
    if not known:
        return None
    total = sum(each.seconds for each in known)
    mean = sum(each.seconds * (each.before + each.after) / 2 for each in known) / total
    return Clocks(
        reference_ms=round(mean, _DIGITS),
        fastest_ms=round(min(min(each.before, each.after) for each in known), _DIGITS),
        processor_share=round(sum(each.processor_seconds for each in known) / total, _DIGITS),
    )


def disturbance(clocks: Clocks, fastest_ms: float) -> str:
    """Say by what it is known that something else ran; empty where the machine was quiet.

    Args:
        clocks: of the cell.
        fastest_ms: of the reference on the same hardware, anywhere in the run.
    """
    slowed = clocks.reference_ms / min(fastest_ms, clocks.fastest_ms)
    reasons = []
    if clocks.processor_share < LEAST_SHARE:
        reasons.append(f"a core for {100 * clocks.processor_share:.0f} % of the time")
    if slowed > MOST_SLOWED:
        reasons.append(f"the reference took {slowed:.1f} times as long as at best")
    return " and ".join(reasons)
