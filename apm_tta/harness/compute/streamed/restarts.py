"""Methods that begin again after a number of steps, wherever that is in the stream (RDumb, arXiv 2306.05401)."""

from __future__ import annotations

from typing import Any

from apm_tta.harness.compute.spot_check import part_of
from apm_tta.harness.compute.streamed.base import StreamedMethod, concatenate_predictions
from apm_tta.methods import Batch, Method, Predictions


class Restarts(StreamedMethod):
    """Reset a method after every so many of its steps.

    Args:
        inner: the method.
        every: steps after which it is reset.
        one_by_one: whether each image is a step; else each batch is.
    """

    def __init__(self, inner: Method[Any], every: int, one_by_one: bool) -> None:
        super().__init__(inner)
        self._every, self._one_by_one, self._steps = every, one_by_one, 0

    def reset(self) -> None:
        super().reset()
        self._steps = 0

    def predict(self, batch: Batch) -> Predictions:
        answered, parts = 0, []
        while answered < len(batch):
            if self._steps == self._every:
                self.reset()
            count = min(len(batch) - answered, self._every - self._steps) if self._one_by_one else len(batch)
            whole = count == len(batch)
            part = batch if whole else part_of(batch, slice(answered, answered + count), given=True)
            parts.append(self.inner.predict(part))
            self._steps += count if self._one_by_one else 1
            answered += count
        return concatenate_predictions(parts)
