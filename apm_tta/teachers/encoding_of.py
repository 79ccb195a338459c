"""Delegation to another teacher's encoder, for teachers that wrap a teacher."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from apm_tta.teachers.base import Teacher
from apm_tta.teachers.text_tower import TextTower


class DelegatedEncoding(ABC):
    """The members of ``Teacher`` that need a built model, delegated to the teacher that has it."""

    @property
    @abstractmethod
    def encoder(self) -> Teacher:
        """The teacher that encodes."""

    @property
    def image_encoder(self) -> nn.Module:
        """Return the encoder's ``Teacher.image_encoder``."""
        return self.encoder.image_encoder

    @property
    def text_tower(self) -> TextTower | None:
        """Return the encoder's ``Teacher.text_tower``."""
        return self.encoder.text_tower

    @property
    def tokenizer_sha256(self) -> str | None:
        """Return the encoder's ``Teacher.tokenizer_sha256``."""
        return self.encoder.tokenizer_sha256

    @property
    def learned_context(self) -> Tensor | None:
        """Return the encoder's ``Teacher.learned_context``."""
        return self.encoder.learned_context

    @property
    def layers(self) -> int:
        """Return the encoder's ``Teacher.layers``."""
        return self.encoder.layers

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Embed images with the encoder; see ``Teacher.encode_image``."""
        return self.encoder.encode_image(pixels)

    def encode_grid(self, pixels: Tensor, layer: int = -1) -> Tensor:
        """Compute one layer's tokens with the encoder; see ``Teacher.encode_grid``."""
        return self.encoder.encode_grid(pixels, layer)

    def encode_grids(self, pixels: Tensor, layers: Sequence[int]) -> list[Tensor]:
        """Compute several layers' tokens with the encoder; see ``Teacher.encode_grids``."""
        return self.encoder.encode_grids(pixels, layers)
