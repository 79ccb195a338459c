"""A teacher with a built model, from whichever library."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from apm_tta.teachers.base import Source
from apm_tta.teachers.grids import Grids, Intermediates
from apm_tta.teachers.source_teacher import SourceTeacher


class BuiltTeacher(SourceTeacher):
    """The members of ``Teacher`` that need only the image encoder of a model.

    Args:
        source: of the teacher.
        image_encoder: ``(B, 3, S, S)`` -> ``(B, F)``, frozen, on the device.
        intermediates: computes the outputs of layers; None for an encoder that does not expose them.
        device: where it computes.
    """

    def __init__(
        self, source: Source, image_encoder: nn.Module, intermediates: Intermediates | None, device: torch.device
    ) -> None:
        super().__init__(source, device)
        self.image_encoder = image_encoder
        blank = torch.zeros(1, 3, self.image_size, self.image_size, device=device)
        self._grids = Grids(source.name, intermediates, blank)
        with torch.no_grad():
            self.feature_dim = int(self.encode_image(blank).shape[1])

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Embed images ``(B, 3, S, S)`` as ``(B, F)``; see ``Teacher.encode_image``."""
        features: Tensor = self.image_encoder(pixels)
        return features

    def encode_grid(self, pixels: Tensor, layer: int = -1) -> Tensor:
        """Compute one layer's tokens; see ``Teacher.encode_grid``. Layers of a convolutional network are its stages."""
        return self._grids.tokens(pixels, [layer])[0]

    def encode_grids(self, pixels: Tensor, layers: Sequence[int]) -> list[Tensor]:
        """Compute several layers' tokens; see ``Teacher.encode_grids``."""
        return self._grids.tokens(pixels, layers)

    @property
    def layers(self) -> int:
        """Return the number of layers; see ``Teacher.layers``."""
        return self._grids.layer_count
