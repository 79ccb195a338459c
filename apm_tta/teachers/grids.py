"""Tokens of one layer by location, for every image tower that can show what its layers give."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from apm_tta.errors import UserError

Intermediates = Callable[[Tensor, "list[int] | None"], "list[Tensor]"]
"""Pixels and the layers that are wanted (None: all) -> the output of each ``(B, C, h, w)``."""


class Grids:
    """Layers of an image tower; those of a convolutional network are its stages.

    Args:
        name: the teacher's.
        intermediates: see there; None for an encoder that shows none.
        blank: an input, for counting the layers, ``(1, 3, S, S)``.
    """

    def __init__(self, name: str, intermediates: Intermediates | None, blank: Tensor) -> None:
        self._name = name
        self._intermediates = intermediates
        self._blank = blank

    def of_layer(self, pixels: Tensor, layer: int) -> Tensor:
        """``(B, 3, S, S)`` -> ``(B, h, w, C)``; layers count from 0, or from the end.

        Raises:
            UserError: when there is no such layer, or the encoder shows none. Exit code 2.
        """
        if self._intermediates is None:
            raise UserError(f"teacher {self._name} gives no tokens by location; choose a ViT", exit_code=2)
        if not -self._layers <= layer < self._layers:
            raise UserError(f"teacher {self._name} has layers 0 to {self._layers - 1}; there is no layer {layer}", 2)
        return self._intermediates(pixels, [layer % self._layers])[0].permute(0, 2, 3, 1).float()

    @cached_property
    def _layers(self) -> int:
        assert self._intermediates is not None
        # Asked of the model: timm's families keep their layers under many names.
        with torch.no_grad():
            return len(self._intermediates(self._blank, None))
