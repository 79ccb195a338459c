"""What would take long is estimated before it is begun, and done only where that was agreed to."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import cache

import torch
from PIL import Image

from apm_tta.errors import UserError
from apm_tta.islands.fine import COSTS, multiple_of
from apm_tta.islands.regions import merge_regions
from apm_tta.teachers import Teacher
from apm_tta.teachers.square import Square

LONGEST_S = 600.0
_TRIED = 32  # locations per side whose merging is timed


def refuse_long(seconds: float, agreed: bool) -> None:
    """Refuse what takes more than ten minutes, unless that was agreed to.

    Raises:
        UserError: stating the estimate. Exit code 2.
    """
    if not agreed and seconds > LONGEST_S:
        raise UserError(
            f"this would take about {math.ceil(seconds / 60)} minutes here; add --yes to have it done, or choose a "
            "smaller --resolution",
            exit_code=2,
        )


@torch.no_grad()
def seconds_of_levels(image: Image.Image, teacher: Teacher, levels: Sequence[int], resolution: int, way: str) -> float:
    """Estimate how long features of these levels at ``resolution`` take for one image, and the merging of islands.

    The teacher's plain pass is timed, its second one, and multiplied by what the way costs.

    Raises:
        UserError: when ``resolution`` is no multiple of a level's grid. Exit code 2.
    """
    pixels = Square(teacher.preprocessing)(image)[None].to(teacher.device)
    teacher.encode_grids(pixels, levels)
    started = time.perf_counter()
    shapes = [grid.shape[2:] for grid in teacher.encode_grids(pixels, levels)]
    once = time.perf_counter() - started
    factors = {(side := shape[0], multiple_of(side, resolution)) for shape in shapes}
    width = max(shape[1] for shape in shapes)
    passes = sum(COSTS[way](factor, side, width) for side, factor in factors if factor > 1)
    return once * passes + sum(seconds_of_merging(resolution, shape[1]) for shape in shapes)


def seconds_of_merging(side: int, width: int) -> float:
    """Estimate how long it takes to merge the locations of one grid, ``side`` x ``side`` of ``width`` numbers."""
    grown = side**2 * math.log(side**2) / (_TRIED**2 * math.log(_TRIED**2))
    return _seconds_of_a_trial(width) * grown


@cache
def _seconds_of_a_trial(width: int) -> float:
    features = torch.randn(_TRIED, _TRIED, width, generator=torch.Generator().manual_seed(0))
    merge_regions(features[:2])  # imports what it needs
    started = time.perf_counter()
    merge_regions(features)
    return time.perf_counter() - started
