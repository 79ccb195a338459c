"""The teacher's features of one shard: read from a cache on disk where it has them, else computed and stored in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from apm_tta.data.corruptions.revisions import REVISIONS
from apm_tta.data.dataset import CORRUPTION_SEED, Dataset
from apm_tta.data.image_digests import ImageDigests
from apm_tta.harness.compute.content import hash_stored
from apm_tta.harness.compute.fingerprint import versions
from apm_tta.harness.plan import Shard
from apm_tta.harness.storage.code_identity import uncommitted
from apm_tta.methods import Batch
from apm_tta.methods.shared_values import features_key
from apm_tta.revision import ENGINE_REVISION
from apm_tta.system.hardware import rounding_of
from apm_tta.teachers import Teacher
from apm_tta.teachers.feature_cache import FeatureCache


class CachedFeatures:
    """The cached features of one shard.

    They are keyed by everything that they depend on: weights, preprocessing, precision, what computes, the images'
    content and how it is read and corrupted, code and libraries.

    Args:
        folder: folder of the cache; None for no cache.
        teacher: the teacher that computes the features.
        precision: precision in which they are computed.
        dataset: data set with the images.
        shard: the range of images.
    """

    def __init__(self, folder: Path | None, teacher: Teacher, precision: str, dataset: Dataset, shard: Shard) -> None:
        self._teacher = teacher
        self._cache: FeatureCache | None = None
        if folder is not None:
            ids = [entry.id for entry in dataset.entries(shard.condition)[shard.start : shard.stop]]
            key = {
                **teacher.identity,
                "precision": precision,
                **rounding_of(teacher.device),
                "condition": str(shard.condition),
                "corruption_seed": CORRUPTION_SEED,
                "jpeg_quality": dataset.jpeg_quality,
                "reading": dataset.layout.reading,
                "corruption_frame": str(dataset.frame),
                "card": dataset.card.model_dump(mode="json"),
                "images": _content(dataset, ids),
                "code": [ENGINE_REVISION, REVISIONS, uncommitted(), versions(teacher.identity)],
            }
            if key["images"] is not None:
                self._cache = FeatureCache(folder, key, ids)

    @property
    def complete(self) -> bool:
        """Whether all of the shard's features can be read."""
        return self._cache is not None and self._cache.complete

    def read(self, ids: tuple[str, ...]) -> Tensor:
        """Read the features ``(B, F)`` of images of the shard as they were computed, on the teacher's device."""
        assert self._cache is not None
        return self._cache.read(ids).to(self._teacher.device, non_blocking=True)

    def store(self, batch: Batch) -> None:
        """Store the features that were computed for ``batch``, if any."""
        if self._cache is not None and not self.complete and batch.shared.has(features_key(self._teacher)):
            self._cache.write(batch.ids, batch.shared.of(features_key(self._teacher)))

    def close(self) -> None:
        """Make the shard's features readable, if all of them were stored."""
        if self._cache is not None and not self.complete:
            self._cache.finish()


def _content(dataset: Dataset, ids: Sequence[str]) -> str | None:
    """Return the SHA-256 of the bytes of all images, hashing those that have not been hashed yet.

    None where one of them could not be read: what it will be when it is read is not known.
    """
    expected = dataset.expected
    known = {} if expected is None else {**expected.by_id, **expected.since}
    found = {sample_id: known[sample_id] for sample_id in ids if sample_id in known}
    others = [sample_id for sample_id in ids if sample_id not in found]
    hashed = hash_stored(dataset, others, len(others))
    digests = ImageDigests({**found, **hashed.by_id}, len(ids))
    return None if digests.unreached else digests.sha256
