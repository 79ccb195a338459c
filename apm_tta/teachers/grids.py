"""Tokens of one layer by location, for every image tower that can show what its layers give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from apm_tta.errors import UserError

Intermediates = Callable[[Tensor, "list[int] | None"], "list[Tensor]"]
"""Takes pixels ``(B, 3, S, S)`` and layers (None: all of them), returns the output of each ``(B, C, h, w)``."""


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
        """Compute the tokens of several layers from one pass.

        Args:
            pixels: ``(B, 3, S, S)``.
            layers: counted from 0, or from the end.

        Returns:
            Tokens ``(B, h, w, C)`` of each, float32, in the order of ``layers``.

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
        """Count the layers.

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
