"""The order in which a stream presents its images."""

from __future__ import annotations

from apm_tta.data.dataset import Dataset
from apm_tta.harness.compute.loading import Place
from apm_tta.harness.plan import Stream


def stream_order(dataset: Dataset, stream: Stream) -> list[Place]:
    """Return the images of ``stream`` in the order determined by its setting and seed."""
    passes = [(condition, dataset.entries(condition)) for condition, _ in stream.conditions]
    return stream.streaming.setting.order(passes, stream.seed, stream.stream_batch)
