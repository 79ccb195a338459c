"""A plain ViT's patches at a smaller stride: a token for every location, at the price of longer attention."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from apm_tta.islands.fine.way import COSTS, WAYS
from apm_tta.teachers import Teacher
from apm_tta.teachers.finer_patches import tokens_of_finer_patches


def _passes(factor: int, side: int, width: int) -> float:
    """Count k x k times the tokens: 12 C C products each in a block's layers, and 2 T C with all T in its attention."""
    more = factor**2
    return more * (6 * width + more * side**2) / (6 * width + side**2)


COSTS["stride"] = _passes


@WAYS.register("stride")
def tokens_at_a_smaller_stride(
    teacher: Teacher, pixels: Tensor, tokens: Mapping[int, Tensor], factor: int
) -> list[Tensor]:
    """Return the tokens of patches that overlap; see ``tokens_of_finer_patches``."""
    return [grid[0] for grid in tokens_of_finer_patches(teacher, pixels, list(tokens), factor)]
