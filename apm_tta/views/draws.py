"""The random choices behind views: boxes, flips, and the operations of AugMix. Pixels are another module's."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from apm_tta.randomness import numpy_generator
from apm_tta.views.spec import ViewSpec

Floats = NDArray[np.float64]

OPERATIONS = (
    "autocontrast",
    "equalize",
    "posterize",
    "rotate",
    "solarize",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
)
"""In the order of TPT's code. No operation that ImageNet-C has is among them."""

TOP, LEFT, HEIGHT, WIDTH, FLIP, ORIGINAL_SHARE, FIRST_WEIGHT, FIRST_LENGTH, FIRST_STEP = (*range(7), 9, 12)
"""Columns of the draws: the box in pixels of the image; whether the crop is mirrored; with AugMix the share of the crop
itself, the weights of the three chains, how many operations each has, and then for every step of every chain the index
of its operation and the value that goes with it."""
CHAINS = STEPS = 3
CROP_COLUMNS = FLIP + 1
AUGMIX_COLUMNS = FIRST_STEP + 2 * CHAINS * STEPS

_ASPECTS = (3 / 4, 4 / 3)
_TRIES = 10
_PADDING = 8
"""Share of a side, as 1 / 8: 4 of CIFAR's 32 pixels."""
_LEAST_LEVEL, _SEVERITY = 0.1, 1.0


def draw_views(spec: ViewSpec, seed: int, sample_id: str, size: tuple[int, int], view_size: int) -> Tensor:
    """Draw views 1 .. N - 1 of one image.

    View k is a function of the seed, the image's id, its size, k and ``spec`` without its count: a smaller count yields
    the first views of a larger one.

    Args:
        spec: describes the views.
        seed: the run's.
        sample_id: of the image.
        size: width and height of the image, pixels.
        view_size: S, of a view.

    Returns:
        ``(N - 1, CROP_COLUMNS)``, or with AugMix ``(N - 1, AUGMIX_COLUMNS)``, ``float64``; see ``TOP``.
    """
    views = spec.count - 1
    chance = numpy_generator(seed, sample_id, f"crops {spec.crop} {spec.crop_scale}").random((views, 2 * _TRIES + 3))
    *boxes, flips = chance[:, :-1], chance[:, -1:]
    box = _padded_boxes(boxes[0], size) if spec.crop == "padded" else _resized_boxes(boxes[0], size, spec.crop_scale)
    columns = [box, flips < 0.5]
    if spec.augmix:
        columns.append(_augmix(numpy_generator(seed, sample_id, "AugMix"), views, view_size))
    return torch.from_numpy(np.concatenate(columns, axis=1, dtype=np.float64))


def padding_of(length: int) -> int:
    """Return how much black is put at either end of a side of ``length`` pixels before a ``padded`` crop."""
    return max(1, round(length / _PADDING))


def _resized_boxes(chance: Floats, size: tuple[int, int], scale: tuple[float, float]) -> Floats:
    """Draw boxes ``(N, 4)`` as torchvision's ``RandomResizedCrop``: the first of ten that fits, else the centre."""
    width, height = size
    shares, aspects = chance[:, :_TRIES], chance[:, _TRIES : 2 * _TRIES]
    areas = width * height * (scale[0] + (scale[1] - scale[0]) * shares)
    lowest, highest = map(math.log, _ASPECTS)
    ratios = np.exp(lowest + (highest - lowest) * aspects)
    widths, heights = np.rint(np.sqrt(areas * ratios)), np.rint(np.sqrt(areas / ratios))
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    first = fits.argmax(1, keepdims=True)
    chosen_width, chosen_height = (np.take_along_axis(each, first, 1)[:, 0] for each in (widths, heights))
    top = np.floor(chance[:, -2] * (height - chosen_height + 1))
    left = np.floor(chance[:, -1] * (width - chosen_width + 1))
    boxes: Floats = np.stack([top, left, chosen_height, chosen_width], 1)
    boxes[~fits.any(1)] = _central_box(width, height)
    return boxes


def _central_box(width: int, height: int) -> tuple[int, int, int, int]:
    ratio = width / height
    crop_width, crop_height = width, height
    if ratio < _ASPECTS[0]:
        crop_height = round(width / _ASPECTS[0])
    elif ratio > _ASPECTS[1]:
        crop_width = round(height * _ASPECTS[1])
    return (height - crop_height) // 2, (width - crop_width) // 2, crop_height, crop_width


def _padded_boxes(chance: Floats, size: tuple[int, int]) -> Floats:
    """Draw boxes ``(N, 4)`` of the image's size that reach at most the padding beyond it."""
    width, height = size
    top, left = (
        np.floor(share * (2 * padding_of(length) + 1)) - padding_of(length)
        for share, length in ((chance[:, -2], height), (chance[:, -1], width))
    )
    return np.stack([top, left, np.full_like(top, height), np.full_like(left, width)], 1)


def _augmix(generator: np.random.Generator, views: int, view_size: int) -> Floats:
    """Draw what AugMix does, ``(N, AUGMIX_COLUMNS - CROP_COLUMNS)``: weights from Dirichlet(1, 1, 1), Beta(1, 1)."""
    steps = CHAINS * STEPS
    chance = generator.random((views, 1 + 2 * CHAINS + 3 * steps))
    original, exponential, lengths, kinds, levels, signs = np.split(
        chance, np.cumsum([1, CHAINS, CHAINS, steps, steps]), axis=1
    )
    weights = -np.log1p(-exponential)
    weights /= weights.sum(1, keepdims=True)
    operations = np.floor(kinds * len(OPERATIONS))
    levels = _LEAST_LEVEL + (_SEVERITY - _LEAST_LEVEL) * levels
    values = _values(operations, levels, np.where(signs > 0.5, -1.0, 1.0), view_size)
    pairs = np.stack([operations, values], 2).reshape(views, 2 * steps)
    return np.concatenate([original, weights, 1 + np.floor(STEPS * lengths), pairs], 1)


def _values(operations: Floats, levels: Floats, signs: Floats, view_size: int) -> Floats:
    """Return what each operation takes: bits, degrees, a threshold, a slope, or pixels."""
    by_name: dict[str, Floats] = {
        "autocontrast": np.zeros_like(levels),
        "equalize": np.zeros_like(levels),
        "posterize": 4 - np.trunc(levels * 4 / 10),
        "rotate": signs * np.trunc(levels * 30 / 10),
        "solarize": 256 - np.trunc(levels * 256 / 10),
        "shear_x": signs * levels * 0.3 / 10,
        "shear_y": signs * levels * 0.3 / 10,
        "translate_x": signs * np.trunc(levels * (view_size / 3) / 10),
        "translate_y": signs * np.trunc(levels * (view_size / 3) / 10),
    }
    return np.choose(operations.astype(int), [by_name[name] for name in OPERATIONS])
