"""The digests of images that were not hashed before the first answer: recorded as they are read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath

from apm_tta.data.dataset import Dataset
from apm_tta.data.image_digests import ImageDigests
from apm_tta.data.sample import Condition
from apm_tta.harness.compute.loading import Loaded
from apm_tta.harness.plan import Shard, Work, condition_name, in_file_names
from apm_tta.harness.storage.image_list import READ_FOLDER


class ReadDigests:
    """Collects what one shard or stream reads, where the data set has more images than were hashed beforehand."""

    def __init__(self, dataset: Dataset) -> None:
        expected = dataset.expected
        self._known = None if expected is None or expected.complete else expected.by_id
        self._read: dict[Condition, dict[str, str]] = defaultdict(dict)
        self._new: list[tuple[str, int, str, str]] = []

    def add(self, loaded: Loaded) -> None:
        """Note the digests of images that were read."""
        if self._known is not None:
            for condition, entry in loaded.places:
                if entry.id not in self._known:
                    self.put([(condition.corruption, condition.severity, entry.id, loaded.digests[entry.id])])

    def put(self, digests: Iterable[tuple[str, int, str, str]]) -> None:
        """Note digests: corruption, severity, id and SHA-256."""
        for corruption, severity, sample_id, digest in digests:
            self._read[Condition(corruption, severity)][sample_id] = digest
            self._new.append((corruption, severity, sample_id, digest))

    def take_new(self) -> list[tuple[str, int, str, str]]:
        """Return those that were noted since they were taken last."""
        new, self._new = self._new, []
        return new

    def files(self, work: Work) -> tuple[tuple[PurePosixPath, bytes], ...]:
        """Return the files to write: a path below the run folder, and its content."""
        if isinstance(work, Shard):
            name = f"shard-{work.index:05d}"
        else:
            name = f"{in_file_names(str(work.streaming))}-seed-{work.seed}"
        return tuple(
            (PurePosixPath(READ_FOLDER, condition_name(condition), f"{name}.sha256"), _content(digests))
            for condition, digests in self._read.items()
        )


def _content(digests: dict[str, str]) -> bytes:
    return ImageDigests(digests, len(digests)).content
