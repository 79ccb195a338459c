"""A teacher that knows itself and its class weights from the disk cache, and builds its model when pixels come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from apm_tta.teachers.base import Source, Teacher
from apm_tta.teachers.disk_cache import JsonCache, TensorCache
from apm_tta.teachers.source_teacher import SourceTeacher
from apm_tta.teachers.text_tower import TextTower


@dataclass(frozen=True)
class Description:
    """What is known of a teacher only once it has been built; see ``Teacher``."""

    feature_dim: int
    patch_size: int | None
    logit_scale: float


class LazyTeacher(SourceTeacher):
    """A ``Teacher`` that states itself from what its source and the cache know.

    What it writes to the cache depends on its identity: other weights, other entries.

    Args:
        source: how to build the model.
        device: where it computes.
        folder: of the cache; None writes nothing and builds the model at once.
    """

    def __init__(self, source: Source, device: torch.device, folder: Path | None) -> None:
        super().__init__(source, device)
        self._source = source
        self._weights = None if folder is None else TensorCache(folder / "class-weights")
        self._known: dict[tuple[tuple[str, ...], tuple[str, ...]], Tensor] = {}
        description = self._describe(None if folder is None else JsonCache(folder / "teachers"))
        self.feature_dim: int = description.feature_dim
        self.patch_size: int | None = description.patch_size
        self.logit_scale: float = description.logit_scale

    @property
    def loaded(self) -> bool:
        """Tell whether the model has been built."""
        return "built" in vars(self)

    @cached_property
    def built(self) -> Teacher:
        """Return the family's own teacher, which has the model; built when it is first asked for.

        Raises:
            UserError: when the weights cannot be read, or are of another model.
        """
        # The first image may come under autocast: what is checked and measured of a model must not depend on that.
        with torch.autocast(self.device.type, enabled=False):
            return self._source.build(self.device)

    @property
    def weights_sha256(self) -> str:
        """Return the SHA-256 of the file of weights, as ``sha256sum`` prints it."""
        return self.identity["weights_sha256"]

    @property
    def image_encoder(self) -> nn.Module:
        """Return the built teacher's ``Teacher.image_encoder``."""
        return self.built.image_encoder

    @property
    def text_tower(self) -> TextTower | None:
        """Return the built teacher's ``Teacher.text_tower``."""
        return self.built.text_tower

    @property
    def layers(self) -> int:
        """Return the built teacher's ``Teacher.layers``."""
        return self.built.layers

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Embed images by the built teacher; see ``Teacher.encode_image``."""
        return self.built.encode_image(pixels)

    def encode_grid(self, pixels: Tensor, layer: int = -1) -> Tensor:
        """Compute one layer's tokens by the built teacher; see ``Teacher.encode_grid``."""
        return self.built.encode_grid(pixels, layer)

    def encode_grids(self, pixels: Tensor, layers: Sequence[int]) -> list[Tensor]:
        """Compute several layers' tokens by the built teacher; see ``Teacher.encode_grids``."""
        return self.built.encode_grids(pixels, layers)

    def class_weights(self, classes: Sequence[str], templates: Sequence[str]) -> Tensor:
        """Return class weights from memory, from the cache or from the model; see ``Teacher.class_weights``."""
        key = (tuple(classes), tuple(templates))
        if key not in self._known:
            parts = {**self._key, "device": self.device.type, "classes": key[0], "templates": key[1]}
            found = None if self._weights is None else self._weights.read(parts)
            if found is None:
                # Made in full precision whatever surrounds it: the cache must not depend on who asked first.
                with torch.autocast(self.device.type, enabled=False):
                    found = self.built.class_weights(classes, templates)
                if self._weights is not None:
                    self._weights.write(parts, found)
            self._known[key] = found.to(self.device)
        return self._known[key]

    @property
    def _key(self) -> dict[str, Any]:
        return {"teacher": dict(self._source.identity), "classifier": self._source.classifier}

    def _describe(self, cache: JsonCache | None) -> Description:
        if cache is not None and (found := cache.read(self._key)) is not None:
            return Description(**found)
        description = Description(self.built.feature_dim, self.built.patch_size, self.built.logit_scale)
        if cache is not None:
            cache.write(self._key, asdict(description))
        return description
