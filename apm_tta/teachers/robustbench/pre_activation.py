"""What residual blocks with activation before convolution share, and the normalisation of a network's input."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

Activation = Callable[[Tensor], Tensor]
Normalisation = tuple[Sequence[float], Sequence[float]]
"""Mean and standard deviation per channel, of values in 0 .. 1."""


def pre_activated(
    values: Tensor,
    norms: tuple[nn.Module, nn.Module],
    convolutions: tuple[nn.Module, nn.Module],
    shortcut: nn.Module | None,
    activation: Activation = relu,
) -> Tensor:
    """Compute a residual block of two convolutions; a shortcut takes what is activated, none takes what came in.

    Args:
        values: ``(B, C, h, w)``.
        norms: before either convolution.
        convolutions: the first one may have a stride.
        shortcut: None where nothing changes size or width.
        activation: after every norm.
    """
    active = activation(norms[0](values))
    inner: Tensor = convolutions[1](activation(norms[1](convolutions[0](active))))
    kept: Tensor = values if shortcut is None else shortcut(active)
    return inner + kept


def convolution(inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Make a convolution without bias that keeps the size of maps, but for its stride."""
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, groups=groups, bias=False)


class Normalising(nn.Module):
    """A network that normalises its input by buffers ``mu`` and ``sigma``, where it is given values for them.

    Args:
        normalisation: mean and standard deviation per channel, or one for all; None leaves images as they are.
        persistent: whether checkpoints may contain them.
    """

    def __init__(self, normalisation: Normalisation | None, persistent: bool = True) -> None:
        super().__init__()
        self.normalises = normalisation is not None
        if normalisation is not None:
            for name, values in zip(("mu", "sigma"), normalisation, strict=True):
                own = torch.tensor(values).expand(3).clone().view(1, 3, 1, 1)
                self.register_buffer(name, own, persistent)

    def normalise(self, pixels: Tensor) -> Tensor:
        """Normalise images ``(B, 3, S, S)`` with values in 0 .. 1."""
        if not self.normalises:
            return pixels
        mean, deviation = self.get_buffer("mu"), self.get_buffer("sigma")
        return (pixels - mean) / deviation
