"""The part of a teacher that its source determines, whether its model is built or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from PIL import Image
from torch import Tensor

from apm_tta.teachers.base import Classifier, Source, Support
from apm_tta.teachers.preprocessing import Preprocessing


class SourceTeacher:
    """The members of ``Teacher`` that a source states, and those derived from them.

    Args:
        source: of the teacher.
        device: where it computes.

    Attributes:
        logit_scale: set by subclasses; for a head it is M of ``LinearHead``.
    """

    logit_scale: float

    def __init__(self, source: Source, device: torch.device) -> None:
        self.name: str = source.name
        self.identity: Mapping[str, str] = source.identity
        self.classifier: Classifier = source.classifier
        self.classifiers: tuple[Classifier, ...] = source.classifiers
        self.preprocessing: Preprocessing = source.preprocessing
        self.preprocess: Callable[[Image.Image], Tensor] = source.transform
        self.image_size: int = source.preprocessing.size
        self.support: Support | None = None
        self.device = device
        self._digest_tokenizer = source.tokenizer_sha256

    @property
    def tokenizer_sha256(self) -> str | None:
        """The digest of its tokenizer; see ``Teacher.tokenizer_sha256``."""
        return None if self.classifier != "text" or self._digest_tokenizer is None else self._digest_tokenizer()

    @property
    def learned_context(self) -> Tensor | None:
        """None: words stand before class names."""
        return None

    def scales(self, features: Tensor) -> Tensor:
        """Return ``logit_scale`` per feature ``(..., F)`` as ``(..., 1)``; for a head, times the feature's norm."""
        if self.classifier == "head":
            norms: Tensor = features.norm(dim=-1, keepdim=True)
            return self.logit_scale * norms
        return torch.full_like(features[..., :1], self.logit_scale)
