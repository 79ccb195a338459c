"""Tokens of one layer by location, for every image tower that can show what its layers give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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

    def of_layers(self, pixels: Tensor, layers: Sequence[int]) -> list[Tensor]:
        """``(B, 3, S, S)`` -> ``(B, h, w, C)`` of every layer, from one pass; layers count from 0, or from the end.

        Raises:
            UserError: when there is no such layer, or the encoder shows none. Exit code 2.
        """
        shown = self._shown()
        for layer in layers:
            if not -self.count <= layer < self.count:
                raise UserError(f"teacher {self._name} has layers 0 to {self.count - 1}; there is no layer {layer}", 2)
        wanted = [layer % self.count for layer in layers]
        # Libraries answer in the order of depth, each layer once.
        depths = sorted(set(wanted))
        found = dict(zip(depths, shown(pixels, depths), strict=True))
        return [found[layer].permute(0, 2, 3, 1).float() for layer in wanted]

    @cached_property
    def count(self) -> int:
        """How many layers there are.

        Raises:
            UserError: when the encoder shows none. Exit code 2.
        """
        # Asked of the model: timm's families keep their layers under many names.
        with torch.no_grad():
            return len(self._shown()(self._blank, None))

    def _shown(self) -> Intermediates:
        if self._intermediates is None:
            raise UserError(f"teacher {self._name} gives no tokens by location; choose a ViT", exit_code=2)
        return self._intermediates
