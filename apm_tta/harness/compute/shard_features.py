"""The teacher's features of one shard: from a cache on disk where they are there, else into it."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from apm_tta.data.dataset import Dataset
from apm_tta.harness.plan import Shard
from apm_tta.methods import Batch
from apm_tta.methods.base import FEATURES
from apm_tta.teachers import Teacher
from apm_tta.teachers.feature_cache import FeatureCache


class CachedFeatures:
    """Keyed by everything that features depend on: weights, preprocessing, precision, device, the images' files.

    Args:
        folder: of the cache; None for no cache at all.
        teacher: whose features.
        precision: in which they were computed.
        dataset: of which images.
        shard: of which range of them.
    """

    def __init__(self, folder: Path | None, teacher: Teacher, precision: str, dataset: Dataset, shard: Shard) -> None:
        self._teacher = teacher
        self._cache: FeatureCache | None = None
        if folder is not None:
            ids = [entry.id for entry in dataset.entries(shard.condition)[shard.start : shard.stop]]
            key = {
                **teacher.identity,
                "precision": precision,
                "device": teacher.device.type,
                "images": dataset.content_key(shard.condition),
                "range": f"{shard.start} to {shard.stop}",
            }
            self._cache = FeatureCache(folder, key, ids)

    @property
    def there(self) -> bool:
        """Whether the shard's features can be read."""
        return self._cache is not None and self._cache.complete

    def read(self, ids: tuple[str, ...]) -> Tensor:
        """Features ``(B, F)`` of images of the shard, as they were computed."""
        assert self._cache is not None
        return self._cache.read(ids)

    def keep(self, batch: Batch) -> None:
        """Adds what was computed for ``batch``."""
        if self._cache is not None and not self.there and batch.shared.has((FEATURES, self._teacher)):
            self._cache.write(batch.ids, batch.shared.of((FEATURES, self._teacher)))

    def close(self) -> None:
        """Makes the shard's features readable, if every one of them was kept."""
        if self._cache is not None and not self.there:
            self._cache.finish()
