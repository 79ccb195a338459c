"""AugMix's operations on many images at once, on any device, as Pillow carries them out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from apm_tta.constant_tensors import channel_values
from apm_tta.device_copies import device_copy
from apm_tta.views.affine import MOVES, matrix_of

_TOP = 255


def operate(operation: str, images: Tensor, values: Sequence[float], fill: tuple[int, int, int]) -> Tensor:
    """Apply one operation to images ``(n, 3, S, S)``, ``uint8``, each with its own value.

    Args:
        operation: one of ``OPERATIONS``.
        images: on any device.
        values: what the operation takes, per image.
        fill: RGB of what is moved in.
    """
    if operation in MOVES:
        side = images.shape[-1]
        matrices = [matrix_of(operation, value, side) for value in values]
        return _move(images, device_copy(torch.tensor(matrices, dtype=torch.float64), images.device), fill)
    return _COLOURS[operation](images, device_copy(torch.tensor(values).int(), images.device)[:, None, None, None])


def _autocontrast(images: Tensor, _: Tensor) -> Tensor:
    """Stretch every channel over all levels, by Pillow's table: int(level * scale + offset)."""
    low, high = (each.double() for each in (images.amin((2, 3), True), images.amax((2, 3), True)))
    scale = torch.full_like(low, float(_TOP)) / (high - low)
    stretched = (images.double() * scale + -low * scale).trunc().clamp(0, _TOP)
    return torch.where(high <= low, images, stretched.nan_to_num(0).to(torch.uint8))


def _equalize(images: Tensor, _: Tensor) -> Tensor:
    """Give every level about as many pixels, by Pillow's table."""
    count, channels = images.shape[:2]
    levels = images.flatten(2).long()
    histogram = torch.zeros((count, channels, _TOP + 1), dtype=torch.int64, device=images.device)
    histogram.scatter_add_(2, levels, torch.ones_like(levels))
    used = (histogram > 0).int()
    highest = _TOP - used.flip(2).argmax(2, keepdim=True)
    step = (levels.shape[2] - histogram.gather(2, highest)) // _TOP
    table = (step // 2 + histogram.cumsum(2) - histogram) // step.clamp_min(1)
    table = torch.where(step > 0, table, torch.arange(_TOP + 1, device=images.device)).clamp(0, _TOP)
    return table.gather(2, levels).view(images.shape).to(torch.uint8)


def _posterize(images: Tensor, bits: Tensor) -> Tensor:
    mask = (_TOP + 1) - (1 << (8 - bits))
    return (images.int() & mask).to(torch.uint8)


def _solarize(images: Tensor, threshold: Tensor) -> Tensor:
    return torch.where(images.int() < threshold, images, _TOP - images)


_COLOURS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "autocontrast": _autocontrast,
    "equalize": _equalize,
    "posterize": _posterize,
    "solarize": _solarize,
}


def _move(images: Tensor, matrices: Tensor, fill: tuple[int, int, int]) -> Tensor:
    """Read every pixel elsewhere, bilinearly; ``matrices`` ``(n, 6)`` are Pillow's."""
    count, _, side, _ = images.shape
    middle = torch.arange(side, dtype=torch.float64, device=images.device) + 0.5
    a, b, c, d, e, f = matrices[:, :, None, None].unbind(1)
    x = a * middle[None, None] + b * middle[None, :, None] + c
    y = d * middle[None, None] + e * middle[None, :, None] + f
    inside = (x >= 0) & (x < side) & (y >= 0) & (y < side)
    x, y = x - 0.5, y - 0.5
    column, row = x.floor(), y.floor()
    across, down = (x - column)[:, None], (y - row)[:, None]
    columns = [(column + step).clamp(0, side - 1).long() for step in (0, 1)]
    rows = [(row + step).clamp(0, side - 1).long() for step in (0, 1)]
    flat = images.flatten(2)

    def read(which_row: Tensor, which_column: Tensor) -> Tensor:
        place = (which_row * side + which_column).view(count, 1, -1).expand(-1, 3, -1)
        return flat.gather(2, place).view(images.shape).double()

    upper, lower = (
        left + (read(which, columns[1]) - left) * across for which in rows for left in [read(which, columns[0])]
    )
    moved = (upper + (lower - upper) * down).trunc().to(torch.uint8)
    colour = channel_values(tuple(map(float, fill)), images.device).to(torch.uint8)
    return torch.where(inside[:, None], moved, colour)
