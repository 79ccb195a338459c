"""Tokens of layers by location, for every image tower that exposes the outputs of its layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from apm_tta.errors import UserError

Intermediates = Callable[[Tensor, "list[int] | None"], "list[Tensor]"]
"""Take pixels ``(B, 3, S, S)`` and layers (None: all of them); return the output of each, ``(B, C, h, w)``."""


class Grids:
    """The layers of an image tower; those of a convolutional network are its stages.

    Args:
        name: the teacher's.
        intermediates: see ``Intermediates``; None for an encoder that does not expose its layers.
        blank: an input for counting the layers, ``(1, 3, S, S)``.
    """

    def __init__(self, name: str, intermediates: Intermediates | None, blank: Tensor) -> None:
        self._name = name
        self._intermediates = intermediates
        self._blank = blank

    def tokens(self, pixels: Tensor, layers: Sequence[int]) -> list[Tensor]:
        """Compute the tokens of several layers from one pass.

        Args:
            pixels: ``(B, 3, S, S)``.
            layers: counted from 0, or from the end.

        Returns:
            Tokens ``(B, h, w, C)`` of each, float32, in the order of ``layers``.

        Raises:
            UserError: when a layer does not exist, or the encoder exposes none. Exit code 2.
        """
        compute = self._require_intermediates()
        for layer in layers:
            if not -self.layer_count <= layer < self.layer_count:
                raise UserError(
                    f"teacher {self._name} has layers 0 to {self.layer_count - 1}; there is no layer {layer}", 2
                )
        wanted = [layer % self.layer_count for layer in layers]
        # Libraries return layers in the order of depth, each once.
        depths = sorted(set(wanted))
        found = dict(zip(depths, compute(pixels, depths), strict=True))
        return [found[layer].permute(0, 2, 3, 1).float() for layer in wanted]

    @cached_property
    def layer_count(self) -> int:
        """The number of layers.

        Raises:
            UserError: when the encoder exposes none. Exit code 2.
        """
        # Counted by a forward pass: timm's families keep their layers under many names.
        with torch.no_grad():
            return len(self._require_intermediates()(self._blank, None))

    def _require_intermediates(self) -> Intermediates:
        if self._intermediates is None:
            raise UserError(f"teacher {self._name} gives no tokens by location; choose a ViT", exit_code=2)
        return self._intermediates
