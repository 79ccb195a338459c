"""What a way to finer features is, and the resolutions that it can have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from apm_tta.errors import UserError
from apm_tta.registry import Registry
from apm_tta.teachers import Teacher

Way = Callable[[Teacher, Tensor, "Mapping[int, Tensor]", int], "list[Tensor]"]
"""Take a teacher, one image as its input ``(1, 3, S, S)``, its tokens by layer and a factor k; return their features.

These are, by layer, ``(k * h, k * w, C)`` where the tokens are ``(h, w, C)``, at the centres of as many cells; a factor
of 1 asks for nothing. A way raises ``UserError`` (exit code 2) for a teacher or a factor that it cannot serve.
"""

WAYS: Registry[Way] = Registry("way to finer features")
Cost = Callable[[int, int, int], float]
"""Take a factor, the side of the teacher's grid and the width of its tokens; return the number of plain passes."""

COSTS: dict[str, Cost] = {}
"""About how many plain passes of the teacher take as long as a way, by the way's name."""

PLAIN = "bilinear"
"""The way of any features, and the default: what it follows from is in ``docs/islands.md``."""


@dataclass(frozen=True)
class FineGrid:
    """Features of one layer.

    Attributes:
        features: ``(N, N, C)``, float32.
        factor: how many of its locations per side there are for each of the layer's.
    """

    features: Tensor
    factor: int


@torch.no_grad()
def fine_grids(
    teacher: Teacher, pixels: Tensor, layers: Sequence[int], resolution: int | None, way: str
) -> list[FineGrid]:
    """Compute features of layers at ``resolution`` locations per side.

    Args:
        teacher: whose layers.
        pixels: its input, ``(1, 3, S, S)``.
        layers: counted from 0, or from the end.
        resolution: locations per side, a multiple of every layer's; None for the layers' own.
        way: a name in ``WAYS``.

    Returns:
        Features of each layer, in the order of ``layers``.

    Raises:
        UserError: for a resolution that is no multiple of a layer's grid, or that the way cannot have. Exit code 2.
    """
    refuse_way(way, WAYS.names(), f"the layers of teacher {teacher.name}")
    tokens = {layer: grid[0] for layer, grid in zip(layers, teacher.encode_grids(pixels, layers), strict=True)}
    factors = {layer: multiple_of(len(grid), resolution or len(grid)) for layer, grid in tokens.items()}
    found = dict(tokens)
    for factor in set(factors.values()) - {1}:
        own = {layer: grid for layer, grid in tokens.items() if factors[layer] == factor}
        found.update(zip(own, WAYS.get(way)(teacher, pixels, own, factor), strict=True))
    return [FineGrid(found[layer], factors[layer]) for layer in layers]


def refuse_way(way: str, served: Sequence[str], what: str) -> None:
    """Refuse a way that cannot serve ``what`` is drawn.

    Raises:
        UserError: naming those that can. Exit code 2.
    """
    if way not in served:
        raise UserError(f"--fine {way} is not for {what}; choose {' or '.join(served)}", exit_code=2)


def cell_centres(grid: int, factor: int) -> Tensor:
    """Return the centres of k x k cells for every location of a grid, in units of it, ``(k * g * k * g, 2)``.

    Row by row; each is a row and a column, whole numbers being the grid's own locations.
    """
    axis = (torch.arange(grid * factor) + 0.5) / factor - 0.5
    return torch.cartesian_prod(axis, axis)


def multiple_of(side: int, resolution: int) -> int:
    """Return how many locations per side ``resolution`` has for each of ``side``.

    Raises:
        UserError: when it is no multiple. Exit code 2.
    """
    if resolution % side:
        near = max(1, round(resolution / side)) * side
        raise UserError(
            f"--resolution {resolution} is no multiple of a grid of {side} x {side}; choose {near}, for instance", 2
        )
    return resolution // side
