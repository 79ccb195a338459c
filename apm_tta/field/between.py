"""Places between a field's locations, and what it should answer there: tokens at a smaller stride, finer colours."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from apm_tta.errors import UserError
from apm_tta.islands.targets import resample
from apm_tta.teachers import Teacher
from apm_tta.teachers.finer_patches import tokens_of_finer_patches

_MOST = 56  # locations per side: the passes of a ViT take time that grows with the fourth power
_AT_ONCE = 8  # images, since attention takes memory that grows likewise


def finest_factor(teacher: Teacher, side: int) -> int:
    """Return how many tokens per side a fine field learns for each of its teacher's ``side``.

    It is the largest divisor of a patch with which they are at most 56 per side; for patches of 4 pixels and 8 of them
    it is 4, a token a pixel.

    Raises:
        UserError: when there is none above 1. Exit code 2.
    """
    patch = teacher.patch_size or 1
    found = max((k for k in range(1, patch + 1) if patch % k == 0 and k * side <= _MOST), default=1)
    if found == 1:
        raise UserError(
            f"--fine needs a plain ViT with fewer than {_MOST} patches per side, and teacher {teacher.name} is none",
            exit_code=2,
        )
    return found


def draw_places(grid: int, count: int, generator: torch.Generator) -> Tensor:
    """Draw places anywhere in a picture of g x g locations, ``(L, 2)``: row and column as ``APM.query`` takes them."""
    return torch.rand(count, 2, generator=generator) * grid - 0.5


def fine_tokens(teacher: Teacher, pixels: Tensor, layer: int, factor: int, grid: int) -> Tensor:
    """Compute k x k tokens for each location of a g x g grid, ``(B, k * g, k * g, C)``.

    Raises:
        UserError: when the teacher is no plain ViT. Exit code 2.
    """
    parts = [tokens_of_finer_patches(teacher, part, [layer], factor)[0] for part in pixels.split(_AT_ONCE)]
    return resample(torch.cat(parts), grid * factor)


def values_at(values: Tensor, places: Tensor, grid: int) -> Tensor:
    """Interpolate values ``(B, n, n, C)`` of n x n cells at places ``(B, L, 2)``, in units of a g x g grid.

    Beyond the centres of the outermost cells they stay as there. Returns ``(B, L, C)``.
    """
    across = ((places.flip(-1) + 0.5) * (2 / grid) - 1)[:, None]  # column and row, from -1 to 1
    at = grid_sample(values.permute(0, 3, 1, 2), across, padding_mode="border", align_corners=False)
    return at[:, :, 0].transpose(1, 2)
