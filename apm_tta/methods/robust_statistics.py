"""BatchNorm with averages that move only while it learns, as RoTTA (arXiv 2303.13899, equation 2) has it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class RobustBatchNorm(_BatchNorm):
    """Batch normalisation by moving averages; while ``learning``, the batch's statistics move them first.

    Args:
        layer: whose parameters and averages it begins with.
        share: of the batch's statistics in the averages.
    """

    def __init__(self, layer: _BatchNorm, share: float) -> None:
        super().__init__(layer.num_features, layer.eps, affine=layer.affine)
        self.load_state_dict(layer.state_dict())
        self.share, self.learning = share, False

    def _check_input_dim(self, input: Tensor) -> None:
        """Take values of any number of dimensions, ``(B, C, ...)``."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise values ``(B, C, ...)``; gradients flow through the batch's statistics too."""
        mean, variance = self.running_mean, self.running_var
        assert mean is not None
        assert variance is not None
        if self.learning:
            own_variance, own_mean = torch.var_mean(input, dim=[0, *range(2, input.ndim)], unbiased=False)
            moved_mean = (1 - self.share) * mean + self.share * own_mean
            moved_variance = (1 - self.share) * variance + self.share * own_variance
            mean.copy_(moved_mean.detach())
            variance.copy_(moved_variance.detach())
            mean, variance = moved_mean, moved_variance
        shape = (1, -1, *[1] * (input.ndim - 2))
        values = (input - mean.view(shape)) / (variance.view(shape) + self.eps).sqrt()
        return values * self.weight.view(shape) + self.bias.view(shape) if self.affine else values


def with_robust_statistics(encoder: nn.Module, share: float) -> nn.Module:
    """Return a copy of ``encoder`` with each BatchNorm that has averages replaced; see ``RobustBatchNorm``."""
    robust = copy.deepcopy(encoder)
    for name, layer in encoder.named_modules():
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None:
            place, _, own = name.rpartition(".")
            setattr(robust.get_submodule(place), own, RobustBatchNorm(layer, share).to(layer.running_mean.device))
    return robust.eval().requires_grad_(False)


@contextmanager
def learning_statistics(*networks: nn.Module) -> Iterator[None]:
    """Let the batches within the block move the averages."""
    layers = [module for network in networks for module in network.modules() if isinstance(module, RobustBatchNorm)]
    for layer in layers:
        layer.learning = True
    try:
        yield
    finally:
        for layer in layers:
            layer.learning = False
