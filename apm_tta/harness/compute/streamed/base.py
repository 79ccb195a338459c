"""What stands between the harness and an online method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch

from apm_tta.methods import Batch, Method, Predictions
from apm_tta.methods.preparation import Preparation

_OF_THE_METHOD = (
    *("name", "protocol", "stream_batch", "least_batch", "batch_dependent", "votes", "teacher", "task", "classes"),
    *("parameters", "seed", "memory", "templates", "class_weights", "given"),
)


class StreamedMethod(Method[Any]):
    """A method that answers by asking another one.

    Args:
        inner: the other one, which is online.
    """

    def __init__(self, inner: Method[Any]) -> None:
        self.inner = inner
        vars(self).update({name: getattr(inner, name) for name in _OF_THE_METHOD})

    def reset(self) -> None:
        self.inner.reset()

    @property
    def held(self) -> int:
        """The number of images that it holds, the last ones of the stream; see ``Method.reloaded``."""
        return self.inner.held if isinstance(self.inner, StreamedMethod) else 0

    def show_again(self, batch: Batch) -> None:
        """Take the images that it held when its state was stored, in their order."""
        if isinstance(self.inner, StreamedMethod):
            self.inner.show_again(batch)

    def preparations(self) -> tuple[Preparation, ...]:
        return self.inner.preparations()


def concatenate_predictions(parts: Sequence[Predictions]) -> Predictions:
    """Concatenate what was predicted for batches; what is unknown of one of them is None."""
    columns = {field.name: [getattr(part, field.name) for part in parts] for field in fields(Predictions)}
    known = {name: values for name, values in columns.items() if all(value is not None for value in values)}
    return Predictions(**{name: torch.cat(values) for name, values in known.items()})


def last_prediction(predictions: Predictions) -> Predictions:
    """Return what was predicted for the last image."""
    values = {field.name: getattr(predictions, field.name) for field in fields(Predictions)}
    return Predictions(**{name: value[-1:] for name, value in values.items() if value is not None})
