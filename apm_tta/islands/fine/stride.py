"""A plain ViT's patches at a smaller stride: a token for every location, at the price of longer attention."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from apm_tta.islands.fine.way import WAYS
from apm_tta.teachers import Teacher
from apm_tta.teachers.finer_patches import tokens_of_finer_patches


@WAYS.register("stride")
def tokens_at_a_smaller_stride(
    teacher: Teacher, pixels: Tensor, tokens: Mapping[int, Tensor], factor: int
) -> list[Tensor]:
    """Return the tokens of patches that overlap; see ``tokens_of_finer_patches``."""
    return [grid[0] for grid in tokens_of_finer_patches(teacher, pixels, list(tokens), factor)]
