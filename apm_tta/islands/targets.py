"""What an APM is fitted to: a teacher's embedding of an image, or its patch tokens; and the APM's sizes for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate, normalize, pad

from apm_tta.apm import APMConfig, DistillConfig
from apm_tta.apm.engine import Goals
from apm_tta.teachers import Teacher
from apm_tta.teachers.square import Square

Target = Literal["token", "grid"]

# The APM's width must be a multiple of this, for its heads and its position code.
_WIDTHS = 8


@dataclass(frozen=True)
class Aim:
    """What a fresh APM is fitted to, and its sizes.

    Attributes:
        config: sizes of the APM.
        goals: goals of one image.
        fit: iterations, learning rate, and the weights of the loss terms.
        width: width of the teacher's features; the APM's is a multiple of 8, padded with zeros.
        resampled: side of the teacher's grid where the APM's differs; None where they are the same.
    """

    config: APMConfig
    goals: Goals
    fit: DistillConfig
    width: int
    resampled: int | None = None


@torch.no_grad()
def aim_at_token(image: Image.Image, teacher: Teacher, fit: DistillConfig) -> Aim:
    """Aim at the teacher's embedding of its evaluation crop, as the method ``apm`` does."""
    token = teacher.encode_image(teacher.preprocess(image)[None].to(teacher.device)).float()
    width = token.shape[1]
    config = APMConfig.for_teacher(teacher.image_size, teacher.patch_size, _round_up(width))
    target = pad(normalize(token, dim=-1) if fit.normalize_target else token, (0, config.feature_dim - width))
    return Aim(config, Goals(target, token_weight=1.0), replace(fit, token_weight=1.0), width)


@torch.no_grad()
def aim_at_grid(image: Image.Image, teacher: Teacher, layer: int, fit: DistillConfig) -> Aim:
    """Aim at the teacher's patch tokens of one layer, of the whole image as a square.

    The APM's grid is the teacher's; where the column's width would not be a multiple of 4 (odd grids), it is one
    larger, and the tokens are interpolated to it.

    Raises:
        UserError: when the teacher has no such tokens. Exit code 2.
    """
    pixels = Square(teacher.preprocessing)(image)[None].to(teacher.device)
    tokens = teacher.encode_grid(pixels, layer)
    config = sizes_for_grid(teacher, tokens)
    width = tokens.shape[-1]
    at_grid = resample(tokens, config.grid)
    target = pad(normalize(at_grid, dim=-1) if fit.normalize_target else at_grid, (0, config.feature_dim - width))
    goals = Goals(
        target.new_zeros(1, config.feature_dim), token_weight=0.0, grids=target.flatten(1, 2), grid_weight=1.0
    )
    side = tokens.shape[1]
    weights = replace(fit, token_weight=0.0, grid_weight=1.0)
    return Aim(config, goals, weights, width, side if side != config.grid else None)


def sizes_for_grid(teacher: Teacher, tokens: Tensor) -> APMConfig:
    """Return the sizes of an APM whose grid is that of ``tokens``, ``(B, h, w, C)``.

    Its image has about 448 pixels per side for a teacher of 224 or more.
    """
    base = APMConfig.for_teacher(teacher.image_size, teacher.patch_size, _round_up(tokens.shape[-1]))
    grid = tokens.shape[1] + tokens.shape[1] % 2
    patch = max(1, round(base.image_size / grid))
    return replace(base, image_size=grid * patch, patch_size=patch)


def resample(tokens: Tensor, grid: int) -> Tensor:
    """Resample tokens ``(B, h, w, C)`` to ``(B, g, g, C)``, interpolating between locations where the grids differ."""
    if tokens.shape[1] == grid and tokens.shape[2] == grid:
        return tokens
    return interpolate(tokens.permute(0, 3, 1, 2), (grid, grid), mode="bilinear").permute(0, 2, 3, 1)


def _round_up(width: int) -> int:
    return -(-width // _WIDTHS) * _WIDTHS
