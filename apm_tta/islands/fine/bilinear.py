"""Plain interpolation of the tokens: it adds nothing that was not there, and is the line for other ways to beat."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn.functional import interpolate

from apm_tta.islands.fine.way import COSTS, WAYS
from apm_tta.teachers import Teacher

COSTS["bilinear"] = lambda _factor, _side, _width: 1


@WAYS.register("bilinear")
def interpolated_tokens(teacher: Teacher, pixels: Tensor, tokens: Mapping[int, Tensor], factor: int) -> list[Tensor]:
    """Return the tokens, interpolated between their locations; beyond the outermost they stay as there."""
    return [enlarge(grid, factor) for grid in tokens.values()]


def enlarge(grid: Tensor, factor: int) -> Tensor:
    """Interpolate a grid ``(h, w, C)`` to ``(k * h, k * w, C)``."""
    if factor == 1:
        return grid
    larger = interpolate(grid.permute(2, 0, 1)[None], scale_factor=factor, mode="bilinear", align_corners=False)
    return larger[0].permute(1, 2, 0)
