"""A teacher that knows itself and its class weights from disk, and builds its model when pixels come."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from apm_tta.teachers.base import Classifier, Source, Teacher
from apm_tta.teachers.disk_cache import TensorCache, TextCache
from apm_tta.teachers.preprocessing import Preprocessing
from apm_tta.teachers.scales import scales


@dataclass(frozen=True)
class Description:
    """What is known of a teacher only once it has been built; see ``Teacher``."""

    feature_dim: int
    patch_size: int | None
    logit_scale: float


class CachedTeacher:
    """See ``Teacher``. What it keeps depends on its identity: other weights, other entries.

    Args:
        source: how to build the model.
        device: where it computes.
        folder: of the cache; None keeps nothing and builds the model at once.
    """

    def __init__(self, source: Source, device: torch.device, folder: Path | None) -> None:
        self._source = source
        self._weights = None if folder is None else TensorCache(folder / "class-weights")
        self._known: dict[tuple[tuple[str, ...], tuple[str, ...]], Tensor] = {}
        self.name: str = source.name
        self.identity: Mapping[str, str] = source.identity
        self.classifier: Classifier = source.classifier
        self.classifiers: tuple[Classifier, ...] = source.classifiers
        self.preprocessing: Preprocessing = source.preprocessing
        self.preprocess: Callable[[Image.Image], Tensor] = source.transform
        self.device = device
        described = None if folder is None else TextCache(folder / "teachers").read(self._key)
        self._description = self._describe(folder) if described is None else Description(**described)
        self.feature_dim: int = self._description.feature_dim
        self.patch_size: int | None = self._description.patch_size
        self.logit_scale: float = self._description.logit_scale
        self.image_size: int = source.preprocessing.size

    @property
    def loaded(self) -> bool:
        """Whether the model has been built."""
        return "_built" in vars(self)

    @property
    def weights_sha256(self) -> str:
        """Of the file of weights, as ``sha256sum`` prints it."""
        return self.identity["weights_sha256"]

    @property
    def image_encoder(self) -> nn.Module:
        """See ``Teacher.image_encoder``."""
        return self._built.image_encoder

    def encode_image(self, pixels: Tensor) -> Tensor:
        """See ``Teacher.encode_image``."""
        return self._built.encode_image(pixels)

    def encode_grid(self, pixels: Tensor, layer: int = -1) -> Tensor:
        """See ``Teacher.encode_grid``."""
        return self._built.encode_grid(pixels, layer)

    def encode_grids(self, pixels: Tensor, layers: Sequence[int]) -> list[Tensor]:
        """See ``Teacher.encode_grids``."""
        return self._built.encode_grids(pixels, layers)

    @property
    def layers(self) -> int:
        """See ``Teacher.layers``."""
        return self._built.layers

    def scales(self, features: Tensor) -> Tensor:
        """See ``Teacher.scales``."""
        return scales(features, self.logit_scale, self.classifier)

    def class_weights(self, classes: Sequence[str], templates: Sequence[str]) -> Tensor:
        """See ``Teacher.class_weights``; kept in memory and on disk."""
        key = (tuple(classes), tuple(templates))
        if key not in self._known:
            parts = {**self._key, "device": self.device.type, "classes": key[0], "templates": key[1]}
            found = None if self._weights is None else self._weights.read(parts)
            if found is None:
                # Made in full precision whatever surrounds it: the cache must not depend on who asked first.
                with torch.autocast(self.device.type, enabled=False):
                    found = self._built.class_weights(classes, templates)
                if self._weights is not None:
                    self._weights.write(parts, found)
            self._known[key] = found.to(self.device)
        return self._known[key]

    def __getattr__(self, name: str) -> Any:
        """What a family has beyond the protocol, such as ``model`` and ``tokenizer`` of open_clip's."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._built, name)

    @cached_property
    def _built(self) -> Teacher:
        # The first image may come under autocast: what is checked and measured of a model must not depend on that.
        with torch.autocast(self.device.type, enabled=False):
            return self._source.build(self.device)

    @property
    def _key(self) -> dict[str, Any]:
        return {"teacher": dict(self._source.identity), "classifier": self._source.classifier}

    def _describe(self, folder: Path | None) -> Description:
        built = self._built
        description = Description(built.feature_dim, built.patch_size, built.logit_scale)
        if folder is not None:
            TextCache(folder / "teachers").write(self._key, asdict(description))
        return description
