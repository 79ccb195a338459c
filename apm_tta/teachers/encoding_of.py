"""Delegation to another teacher's encoder, for teachers that wrap a teacher."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence

import torch
from PIL import Image
from torch import Tensor, nn

from apm_tta.teachers.base import Classifier, Support, Teacher
from apm_tta.teachers.preprocessing import Preprocessing
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


class WrappingTeacher(DelegatedEncoding):
    """A teacher that is another one but for what its class says.

    Args:
        teacher: the other one.
        identity: what sets it apart, added to the identity of the other.
    """

    def __init__(self, teacher: Teacher, identity: Mapping[str, str]) -> None:
        self._teacher = teacher
        self.identity: Mapping[str, str] = {**teacher.identity, **identity}
        self.support: Support | None = teacher.support
        self.classifier: Classifier = teacher.classifier
        self.name: str = teacher.name
        self.feature_dim: int = teacher.feature_dim
        self.image_size: int = teacher.image_size
        self.patch_size: int | None = teacher.patch_size
        self.logit_scale: float = teacher.logit_scale
        self.device: torch.device = teacher.device
        self.classifiers: tuple[Classifier, ...] = teacher.classifiers
        self.preprocessing: Preprocessing = teacher.preprocessing
        self.preprocess: Callable[[Image.Image], Tensor] = teacher.preprocess
        self.scales: Callable[[Tensor], Tensor] = teacher.scales

    @property
    def encoder(self) -> Teacher:
        """The wrapped teacher."""
        return self._teacher

    def class_weights(self, classes: Sequence[str], templates: Sequence[str]) -> Tensor:
        """Return the wrapped teacher's; see ``Teacher.class_weights``."""
        return self._teacher.class_weights(classes, templates)
