"""The order in which a stream presents its images."""

from __future__ import annotations

from apm_tta.data.dataset import Dataset
from apm_tta.harness.compute.loading import Place
from apm_tta.harness.plan import Stream
from apm_tta.randomness import numpy_generator


def stream_order(dataset: Dataset, stream: Stream) -> list[Place]:
    """Return the images of ``stream`` in the order determined by its setting and seed; see ``plan_streams``.

    Every image appears once under each of the stream's conditions.
    """
    conditions = [condition for condition, _ in stream.conditions]
    seed = stream.seed
    if stream.setting == "mixed":
        return _shuffled([(each, entry) for each in conditions for entry in dataset.entries(each)], seed, "mixed")
    places: list[Place] = []
    for condition in conditions:
        own = _shuffled([(condition, entry) for entry in dataset.entries(condition)], seed, str(condition))
        # Python's sort keeps the shuffled order within a class.
        places += sorted(own, key=lambda place: place[1].label) if stream.setting == "correlated" else own
    return places


def _shuffled(places: list[Place], seed: int, name: str) -> list[Place]:
    order = numpy_generator(seed, name, "order of the stream").permutation(len(places))
    return [places[position] for position in order]
