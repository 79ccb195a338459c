"""What a teacher has an APM fitted to: its embedding of an image, or its patch tokens; and the APM's sizes for it."""

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

# The APM's heads and its position code divide its width.
_WIDTHS = 8


@dataclass(frozen=True)
class Aim:
    """What a fresh APM is fitted to, and its sizes.

    Attributes:
        config: sizes.
        goals: of one image.
        fit: iterations, learning rate, and the weights of the terms of the loss.
        width: of the teacher's features; the APM's is a multiple of 8, filled up with zeros.
        resampled: the side of the teacher's grid where the APM's is another; None where they are one.
    """

    config: APMConfig
    goals: Goals
    fit: DistillConfig
    width: int
    resampled: int | None = None


@torch.no_grad()
def aim_at_token(image: Image.Image, teacher: Teacher, fit: DistillConfig) -> Aim:
    """The teacher's embedding of its evaluation crop, as the method ``apm`` has it."""
    token = teacher.encode_image(teacher.preprocess(image)[None].to(teacher.device)).float()
    width = token.shape[1]
    config = APMConfig.for_teacher(teacher.image_size, teacher.patch_size, _rounded_up(width))
    target = pad(normalize(token, dim=-1) if fit.normalize_target else token, (0, config.feature_dim - width))
    return Aim(config, Goals(target, token_weight=1.0), replace(fit, token_weight=1.0), width)


@torch.no_grad()
def aim_at_grid(image: Image.Image, teacher: Teacher, layer: int, fit: DistillConfig) -> Aim:
    """The teacher's patch tokens of one layer, of the whole image as a square.

    The APM's grid is the teacher's; where the column would have a width that is not a multiple of 4 (odd grids), it is
    one larger, and the tokens are interpolated to it.

    Raises:
        UserError: when the teacher has no such tokens. Exit code 2.
    """
    pixels = Square(teacher.preprocessing)(image)[None].to(teacher.device)
    tokens = teacher.encode_grid(pixels, layer)
    config = sizes_for_grid(teacher, tokens)
    width = tokens.shape[-1]
    at_grid = resampled(tokens, config.grid)
    target = pad(normalize(at_grid, dim=-1) if fit.normalize_target else at_grid, (0, config.feature_dim - width))
    goals = Goals(
        target.new_zeros(1, config.feature_dim), token_weight=0.0, grids=target.flatten(1, 2), grid_weight=1.0
    )
    side = tokens.shape[1]
    weights = replace(fit, token_weight=0.0, grid_weight=1.0)
    return Aim(config, goals, weights, width, side if side != config.grid else None)


def sizes_for_grid(teacher: Teacher, tokens: Tensor) -> APMConfig:
    """The APM whose grid is that of ``tokens``, ``(B, h, w, C)``: about 448 pixels for a teacher of 224 and more."""
    base = APMConfig.for_teacher(teacher.image_size, teacher.patch_size, _rounded_up(tokens.shape[-1]))
    grid = tokens.shape[1] + tokens.shape[1] % 2
    patch = max(1, round(base.image_size / grid))
    return replace(base, image_size=grid * patch, patch_size=patch)


def resampled(tokens: Tensor, grid: int) -> Tensor:
    """``(B, h, w, C)`` -> ``(B, g, g, C)``, interpolated between the locations where the two grids differ."""
    if tokens.shape[1] == grid and tokens.shape[2] == grid:
        return tokens
    return interpolate(tokens.permute(0, 3, 1, 2), (grid, grid), mode="bilinear").permute(0, 2, 3, 1)


def _rounded_up(width: int) -> int:
    return -(-width // _WIDTHS) * _WIDTHS
