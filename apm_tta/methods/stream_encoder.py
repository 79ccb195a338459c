"""The common base of methods that adapt normalisation layers of the image encoder to the batches of a stream."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from typing import Any, Protocol

import torch
from typing_extensions import TypeVar

from apm_tta.methods.base import Cost, Method, Protocols
from apm_tta.methods.encoder import (
    STATISTICS_ALONE,
    AdaptableEncoder,
    fewest_images,
    normalisation_layers,
    require_normalisation,
)


class StreamParameters(Protocol):
    """Parameters of a method that adapts the encoder to batches of a stream.

    Attributes:
        templates: as in every method.
        batch_size: images per batch.
        channels_last: whether the adapted copy has the channels of its convolutions together in memory.
    """

    @property
    def templates(self) -> str: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def channels_last(self) -> bool: ...


S = TypeVar("S", bound=StreamParameters, default=Any)


class StreamEncoderMethod(Method[S]):
    """A method that adapts scales and shifts of normalisation layers, with the statistics of the batch in BatchNorm.

    Attributes:
        encoder: the adapted copy, as the images so far have left it.
        optimizer: of its parameters, likewise.
    """

    protocol: Protocols = "online"
    adapts = "scales and shifts of normalisation layers in the image encoder"
    encoder: AdaptableEncoder
    optimizer: torch.optim.Optimizer

    def setup(self) -> None:
        chosen = self.parameters
        self.stream_batch = chosen.batch_size
        self.least_batch = fewest_images(self.teacher)
        self.encoder = AdaptableEncoder(
            self.teacher.image_encoder, self.layers(), statistics="batch", channels_last=chosen.channels_last
        )
        self.reset()

    @classmethod
    def companions(cls, parameters: Any) -> tuple[str, ...]:  # noqa: ARG003  whatever they are
        return (STATISTICS_ALONE,)

    def check_teacher(self) -> None:
        super().check_teacher()
        require_normalisation(self.name, self.teacher)

    def cost(self) -> Cost:
        return Cost(image_forwards=1, image_backwards=1)

    def layers(self) -> Collection[str]:
        """Name the layers that move: all normalisation layers."""
        return normalisation_layers(self.teacher.image_encoder)

    @abstractmethod
    def new_optimizer(self) -> torch.optim.Optimizer:
        """Make the optimiser that the first batch gets."""

    def reset(self) -> None:
        self.encoder.restore()
        self.optimizer = self.new_optimizer()
