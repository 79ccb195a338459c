"""Images that come one by one to a method that takes batches: it sees the last few of them."""

from __future__ import annotations

from collections import deque
from typing import Any

import torch

from apm_tta.harness.compute.spot_check import part_of
from apm_tta.harness.compute.streamed.base import StreamedMethod, concatenate_predictions, last_prediction
from apm_tta.methods import Batch, Method, Predictions
from apm_tta.methods.batch import Shared
from apm_tta.methods.images import Images


class SlidingWindow(StreamedMethod):
    """With every image, ask a method for the last ``window`` of them; its answer to the newest one counts.

    At the start of a stream there are fewer. The method takes a step with every image: it learns from each image as
    often as that is in the window. (The package of mariodoebler/test-time-adaptation adapts only once the window has
    been filled anew, and uses the steps between for the statistics of BatchNorm alone.)

    Args:
        inner: the method.
        window: images that it sees at once.
    """

    reloaded = frozenset({"_seen"})

    def __init__(self, inner: Method[Any], window: int) -> None:
        super().__init__(inner)
        self.stream_batch = window
        self._seen: deque[Batch] = deque(maxlen=window)

    def reset(self) -> None:
        super().reset()
        self._seen.clear()

    @property
    def held(self) -> int:
        return len(self._seen)

    def show_again(self, batch: Batch) -> None:
        self._seen.extend(_singles(batch))

    def predict(self, batch: Batch) -> Predictions:
        newest = []
        for single in _singles(batch):
            self._seen.append(single)
            newest.append(last_prediction(self.inner.predict(_together(self._seen))))
        return concatenate_predictions(newest)


def _singles(batch: Batch) -> list[Batch]:
    return [part_of(batch, slice(row, row + 1), given=True) for row in range(len(batch))]


def _together(singles: deque[Batch]) -> Batch:
    """Return one batch of single images, with all that was made of them when they were loaded."""
    shared = Shared(singles[0].shared.device)
    for key in singles[0].shared.given:
        values, costs = zip(*((each.shared.of(key), each.shared.cost(key)) for each in singles), strict=True)
        value = [one for each in values for one in each] if isinstance(values[0], list) else torch.cat(values)
        shared.put(key, value, None if None in costs else sum(costs))
    return Batch(tuple(each.ids[0] for each in singles), Images([each.images[0] for each in singles]), shared)
