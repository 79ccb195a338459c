"""Pixels of views where the images are, in a number of steps that does not depend on how many images there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from apm_tta.device_copies import device_copy
from apm_tta.views.draws import (
    CHAINS,
    FIRST_LENGTH,
    FIRST_STEP,
    FIRST_WEIGHT,
    FLIP,
    HEIGHT,
    OPERATIONS,
    ORIGINAL_SHARE,
    STEPS,
    TOP,
    padding_of,
)
from apm_tta.views.operations import operate
from apm_tta.views.resampling import FILTERS, resize_crops
from apm_tta.views.spec import ViewSpec

_ROWS_AT_ONCE = 1 << 16
_VIEWS_AT_ONCE = 512
"""Rows of crops, and views, that are made together: bounds of the memory, some hundred bytes per pixel of a view."""


def views_of_images(spec: ViewSpec, view_size: int, images: Sequence[Tensor], draws: Tensor) -> Tensor:
    """Make views of images on their device.

    Args:
        spec: describes the views.
        view_size: S.
        images: ``(H, W, 3)`` each, ``uint8``.
        draws: ``(B, N - 1, columns)``, on the CPU.

    Returns:
        ``(B, N - 1, 3, S, S)``: ``uint8``, or with AugMix ``float32`` in 0 .. 255.
    """
    if spec.crop == "padded":
        images, draws = _padded(images, draws)
    sizes = torch.tensor([image.shape[:2] for image in images])
    ends = sizes.prod(1).cumsum(0)
    pixels = torch.cat([image.reshape(-1, 3) for image in images])
    views = draws.shape[1]
    drawn = draws.flatten(0, 1)
    starts = (ends - sizes.prod(1)).repeat_interleave(views)
    widths = sizes[:, 1].repeat_interleave(views)
    boxes, flips = drawn[:, TOP:FLIP].long(), drawn[:, FLIP].bool()
    made = []
    for part in _parts(boxes[:, HEIGHT - TOP]):
        how = FILTERS[spec.interpolation]
        crops = resize_crops(pixels, starts[part], widths[part], boxes[part], view_size, how)
        crops = torch.where(_column(flips[part], crops.device), crops.flip(3), crops)
        made.append(_mixed(spec, crops, drawn[part]) if spec.augmix else crops)
    result: Tensor = torch.cat(made).unflatten(0, (len(images), views))
    return result


def _padded(images: Sequence[Tensor], draws: Tensor) -> tuple[list[Tensor], Tensor]:
    """Put black around the images, and move the boxes accordingly."""
    paddings = [[padding_of(length) for length in image.shape[:2]] for image in images]
    framed = [
        pad(image, (0, 0, across, across, down, down)) for image, (down, across) in zip(images, paddings, strict=True)
    ]
    moved = draws.clone()
    moved[:, :, TOP : TOP + 2] += torch.tensor(paddings, dtype=draws.dtype)[:, None]
    return framed, moved


def _parts(heights: Tensor) -> Iterator[slice]:
    """Divide crops into consecutive parts of bounded size."""
    start = rows = 0
    for index, height in enumerate(heights.tolist()):
        if index > start and (rows + height > _ROWS_AT_ONCE or index - start >= _VIEWS_AT_ONCE):
            yield slice(start, index)
            start, rows = index, 0
        rows += height
    yield slice(start, len(heights))


def _mixed(spec: ViewSpec, crops: Tensor, drawn: Tensor) -> Tensor:
    """Mix chains of operations on crops ``(n, 3, S, S)``, in the order of the authors' code: ``float32``."""
    device, single = crops.device, drawn.float()
    mixture = torch.zeros(crops.shape, dtype=torch.float32, device=device)
    for chain in range(CHAINS):
        made = crops.clone()
        lengths = drawn[:, FIRST_LENGTH + chain]
        for step in range(STEPS):
            kinds, values = drawn[:, FIRST_STEP + 2 * (STEPS * chain + step) :][:, :2].unbind(1)
            for kind, operation in enumerate(OPERATIONS):
                rows = ((kinds == kind) & (lengths > step)).nonzero().flatten()
                if len(rows):
                    where = device_copy(rows, device)
                    changed = operate(operation, made.index_select(0, where), values[rows].tolist(), spec.fill)
                    made.index_copy_(0, where, changed)
        mixture.add_(made.float().mul_(_column(single[:, FIRST_WEIGHT + chain], device)))
    share = _column(single[:, ORIGINAL_SHARE], device)
    return crops.float().mul_(share).add_(mixture.mul_(1 - share))


def _column(values: Tensor, device: torch.device) -> Tensor:
    return device_copy(values, device)[:, None, None, None]
