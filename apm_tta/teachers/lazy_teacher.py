"""A teacher that reads its description and class weights from the disk cache, and builds its model on demand."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from apm_tta.guard.object_state import state_of
from apm_tta.system.hardware import rounding_of
from apm_tta.teachers.base import Source, Teacher
from apm_tta.teachers.class_weight_checks import check_class_weights
from apm_tta.teachers.disk_cache import JsonCache, TensorCache
from apm_tta.teachers.encoding_of import DelegatedEncoding
from apm_tta.teachers.remarks import gathered_remarks
from apm_tta.teachers.source_teacher import SourceTeacher
from apm_tta.teachers.templates import sentences_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Description:
    """What is known of a teacher only once its model is built.

    Attributes:
        feature_dim: see ``Teacher``.
        patch_size: see ``Teacher``.
        logit_scale: see ``Teacher``.
        remarks: what was logged meanwhile.
    """

    feature_dim: int
    patch_size: int | None
    logit_scale: float
    remarks: Sequence[str]


class LazyTeacher(SourceTeacher, DelegatedEncoding):
    """A ``Teacher`` described by its source and the cache.

    The cache entries are keyed by its identity: other weights get other entries.

    Args:
        source: builds the model.
        device: where it computes.
        folder: of the cache; with None nothing is cached and the model is built at once.
    """

    def __init__(self, source: Source, device: torch.device, folder: Path | None) -> None:
        super().__init__(source, device)
        self._source = source
        self._weights = None if folder is None else TensorCache(folder / "class-weights")
        self._class_weights: dict[tuple[tuple[str, ...], tuple[str, ...]], Tensor] = {}
        description = self._describe(None if folder is None else JsonCache(folder / "teachers"))
        self.feature_dim: int = description.feature_dim
        self.patch_size: int | None = description.patch_size
        self.logit_scale: float = description.logit_scale

    @property
    def loaded(self) -> bool:
        """Whether the model has been built."""
        return "built" in vars(self)

    @cached_property
    def built(self) -> Teacher:
        """The family's own teacher, which has the model; it is built at the first access.

        Raises:
            UserError: when the weights cannot be read, or belong to another model.
        """
        # The first image may arrive under autocast: checks and measurements of the model must not depend on that.
        with torch.autocast(self.device.type, enabled=False):
            built = self._source.build(self.device)
        state_of("teacher", built)  # before anything that needs the model can change it
        return built

    @property
    def encoder(self) -> Teacher:
        """The same as ``built``."""
        return self.built

    @property
    def weights_sha256(self) -> str:
        """The SHA-256 of the weights file, as ``sha256sum`` prints it."""
        return self.identity["weights_sha256"]

    def class_weights(self, classes: Sequence[str], templates: Sequence[str]) -> Tensor:
        """Return class weights from memory, from the cache or from the model; see ``Teacher.class_weights``."""
        key = (tuple(classes), tuple(templates))
        if key not in self._class_weights:
            parts = {
                **self._key,
                **rounding_of(self.device),
                "products": torch.get_float32_matmul_precision(),
                "tokenizer": self.tokenizer_sha256,
                "classes": key[0],
                "templates": key[1],
            }
            found = None if self._weights is None else self._weights.read(parts)
            if found is None:
                # Computed in full precision in any context: the cache must not depend on the first caller.
                with torch.autocast(self.device.type, enabled=False):
                    found = self.built.class_weights(classes, templates)
                if self._weights is not None:
                    self._weights.write(parts, found)
            # Whatever they come from: what is noted about them is noted in every run, not in the first alone.
            check_class_weights(self.name, self.classifier, key[0], found, self._tokens_in(templates))
            self._class_weights[key] = found.to(self.device)
            state_of("teacher", self).add("teacher.class_weights", self._class_weights[key])
        return self._class_weights[key]

    def _tokens_in(self, templates: Sequence[str]) -> Callable[[Sequence[str]], Tensor] | None:
        """Return what makes tokens of the first sentence of classes; None where class weights are not text."""
        tokenizer = self._source.tokenizer
        if self.classifier != "text" or tokenizer is None:
            return None
        return lambda classes: tokenizer()([sentences[0] for sentences in sentences_of(templates, classes)])

    @property
    def _key(self) -> dict[str, Any]:
        return {"teacher": dict(self._source.identity), "classifier": self._source.classifier}

    def _describe(self, cache: JsonCache | None) -> Description:
        found = None if cache is None else cache.read(self._key)
        if found is not None and found.keys() == {field.name for field in fields(Description)}:
            description = Description(**found)
            for remark in description.remarks:  # as if the model had been built
                _log.warning("%s", remark)
            return description
        with gathered_remarks() as remarks:
            built = self.built
        description = Description(built.feature_dim, built.patch_size, built.logit_scale, remarks)
        if cache is not None:
            cache.write(self._key, asdict(description))
        return description
