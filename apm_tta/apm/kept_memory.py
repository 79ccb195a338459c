"""The memory of the last fit, kept for the next: on a CPU a new page costs more than what is written into it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

_MOST = 4 * 2**30
"""Bytes that are kept at most."""


class FitMemory(NamedTuple):
    """Tensors of one fit, by parameter.

    Attributes:
        parameters: of any content.
        gradients: zero where this fit writes nothing.
        first_moments: zero.
        second_moments: zero.
    """

    parameters: dict[str, Tensor]
    gradients: dict[str, Tensor]
    first_moments: dict[str, Tensor]
    second_moments: dict[str, Tensor]


class KeptMemory:
    """What a method keeps from batch to batch; it belongs to one fit at a time.

    A GPU's allocator keeps memory by itself, and lends it to others meanwhile: there nothing is kept here.
    """

    def __init__(self) -> None:
        self._kept: tuple[object, FitMemory] | None = None

    def take(self, shapes: Mapping[str, torch.Size], count: int, like: Tensor, fit: Hashable) -> FitMemory:
        """Return memory for a fit.

        Args:
            shapes: of the parameters.
            count: B.
            like: a tensor of the parameters' type and device.
            fit: what decides which gradients are written: those of another fit are not taken over.
        """
        key = (tuple(shapes.items()), count, like.dtype, like.device, fit)
        if self._kept is not None and self._kept[0] == key:
            memory = self._kept[1]
            for tensor in (*memory.first_moments.values(), *memory.second_moments.values()):
                tensor.zero_()
            return memory
        self.release()
        memory = FitMemory(
            {name: like.new_empty((count, *shape)) for name, shape in shapes.items()},
            *({name: like.new_zeros((count, *shape)) for name, shape in shapes.items()} for _ in range(3)),
        )
        size = 4 * sum(tensor.numel() * tensor.element_size() for tensor in memory.parameters.values())
        if like.device.type == "cpu" and size <= _MOST:
            self._kept = key, memory
        return memory

    def release(self) -> None:
        """Give the memory back."""
        self._kept = None
