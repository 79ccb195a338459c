"""A teacher with a built model, from whichever library."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from apm_tta.errors import UserError
from apm_tta.teachers.base import Source
from apm_tta.teachers.grids import Grids, Intermediates
from apm_tta.teachers.linear_head import probe_pixels
from apm_tta.teachers.source_teacher import SourceTeacher


class BuiltTeacher(SourceTeacher):
    """The members of ``Teacher`` that need only the image encoder of a model.

    Args:
        source: of the teacher.
        image_encoder: ``(B, 3, S, S)`` -> ``(B, F)``, frozen, on the device.
        intermediates: computes the outputs of layers; None for an encoder that does not expose them.
        device: where it computes.

    Raises:
        UserError: when it computes the same for two images, or what is not finite. Exit code 2.
    """

    def __init__(
        self, source: Source, image_encoder: nn.Module, intermediates: Intermediates | None, device: torch.device
    ) -> None:
        super().__init__(source, device)
        self.image_encoder = image_encoder
        probe = probe_pixels(self.image_size, device)
        self._grids = Grids(source.name, intermediates, probe[:1])
        with torch.no_grad():
            # One after another: in one batch, equal images may come out differently in the last digits.
            features = torch.cat([self.encode_image(image) for image in probe.split(1)])
        _refuse_constant(source, features)
        self.feature_dim = int(features.shape[1])

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


def _refuse_constant(source: Source, features: Tensor) -> None:
    """Refuse features ``(2, F)`` of two images that tell nothing about either.

    Raises:
        UserError: when they are not one vector each, not finite, or the same. Exit code 2.
    """
    if features.ndim != 2:
        raise UserError(f"teacher {source.name} gives no vector for an image, but {tuple(features.shape[1:])}", 2)
    own = features[:, :-2] if source.classifier == "head" else features  # without constants
    if not bool(own.isfinite().all()):
        raise UserError(f"teacher {source.name} gives features that are not finite: its weights are damaged", 2)
    if torch.equal(own[0], own[1]):
        raise UserError(f"teacher {source.name} gives every image the same features: its weights are damaged", 2)
