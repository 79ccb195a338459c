"""Pixels of views on a CPU: Pillow itself, image by image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from apm_tta.views.affine import MOVES, matrix_of
from apm_tta.views.draws import (
    CHAINS,
    FIRST_LENGTH,
    FIRST_STEP,
    FIRST_WEIGHT,
    FLIP,
    LEFT,
    OPERATIONS,
    ORIGINAL_SHARE,
    STEPS,
    TOP,
)
from apm_tta.views.spec import ViewSpec

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_COLOURS: dict[str, Callable[[Image.Image, int], Image.Image]] = {
    "autocontrast": lambda image, _: ImageOps.autocontrast(image),
    "equalize": lambda image, _: ImageOps.equalize(image),
    "posterize": ImageOps.posterize,
    "solarize": ImageOps.solarize,
}


def views_of_image(spec: ViewSpec, view_size: int, image: Image.Image, draws: Tensor) -> Tensor:
    """Make views of one image.

    Args:
        spec: describes the views.
        view_size: S.
        image: RGB.
        draws: ``(N - 1, columns)``.

    Returns:
        ``(N - 1, 3, S, S)``: ``uint8``, or with AugMix ``float32`` in 0 .. 255.
    """
    kind = torch.float32 if spec.augmix else torch.uint8
    views = torch.empty((len(draws), 3, view_size, view_size), dtype=kind)
    for view, drawn in zip(views, draws.tolist(), strict=True):
        crop = _crop(spec, view_size, image, drawn)
        view.copy_(_mixed(spec, crop, drawn) if spec.augmix else _tensor(crop))
    return views


def _crop(spec: ViewSpec, view_size: int, image: Image.Image, drawn: list[float]) -> Image.Image:
    top, left, height, width = map(int, drawn[TOP : LEFT + 3])
    crop = image.crop((left, top, left + width, top + height))
    crop = crop.resize((view_size, view_size), _FILTERS[spec.interpolation])
    return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if drawn[FLIP] else crop


def _mixed(spec: ViewSpec, crop: Image.Image, drawn: list[float]) -> Tensor:
    """Mix the chains, and the crop with their mixture, in the order of the authors' code."""
    mixture = torch.zeros((3, crop.height, crop.width))
    for chain in range(CHAINS):
        made = crop
        for step in range(int(drawn[FIRST_LENGTH + chain])):
            column = FIRST_STEP + 2 * (STEPS * chain + step)
            made = _operate(spec, made, OPERATIONS[int(drawn[column])], drawn[column + 1])
        mixture.add_(_tensor(made).float().mul_(float(np.float32(drawn[FIRST_WEIGHT + chain]))))
    share = np.float32(drawn[ORIGINAL_SHARE])
    return _tensor(crop).float().mul_(float(share)).add_(mixture.mul_(float(np.float32(1) - share)))


def _operate(spec: ViewSpec, image: Image.Image, operation: str, value: float) -> Image.Image:
    if operation not in MOVES:
        return _COLOURS[operation](image, int(value))
    if not value:
        return image
    if operation.startswith("translate"):  # whole pixels: as Pillow's interpolation, in a twentieth of the time
        by = (int(value), 0) if operation == "translate_x" else (0, int(value))
        return _moved(image, by, spec.fill)
    matrix = matrix_of(operation, value, image.width)
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=spec.fill)


def _moved(image: Image.Image, by: tuple[int, int], fill: tuple[int, int, int]) -> Image.Image:
    moved = Image.new("RGB", image.size, fill)
    moved.paste(image, (-by[0], -by[1]))
    return moved


def _tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy())
