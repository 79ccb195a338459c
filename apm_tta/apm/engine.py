"""B fresh APMs as one batched problem: the function of ``APM.token`` and its gradient, from the blocks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from apm_tta.apm.blocks import (
    ColumnBlock,
    FirstLayer,
    HiddenLayer,
    MeanReadout,
    Tensors,
    TokenReadout,
    Workspace,
)
from apm_tta.apm.config import APMConfig
from apm_tta.apm.model import APM


@cache
def parameter_shapes(config: APMConfig) -> dict[str, torch.Size]:
    """Names and shapes of an APM's parameters, in the order in which fresh ones are drawn."""
    return {name: parameter.shape for name, parameter in APM(config).named_parameters()}


def fresh_parameters(config: APMConfig, seeds: Sequence[int], device: torch.device | str = "cpu") -> Tensors:
    """What ``APM(config, generator of seed)`` holds, for every seed, by name and with a leading image axis.

    The RGB head, which no loss reads at test time, is left out: it is drawn last but one, so its numbers are drawn
    and dropped, and the rest equals the plain module's.
    """
    kept: dict[str, list[Tensor]] = {name: [] for name in parameter_shapes(config) if not name.startswith("rgb_head")}
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        for name, shape in parameter_shapes(config).items():
            drawn = torch.randn(shape, generator=generator)
            if name in kept:
                kept[name].append(drawn)
    return {name: torch.stack(values).mul_(config.init_std).to(device) for name, values in kept.items()}


class Engine:
    """Tokens, and gradients of the distillation loss, of B images with B separate parameter sets.

    Args:
        images: ``(B, 3, S, S)``, ImageNet-normalised.
        config: sizes, the same for all.
        products: type of the large matrix products: float32, or bfloat16 with float32 sums, weights and moments.
    """

    def __init__(self, images: Tensor, config: APMConfig, products: torch.dtype | None = None) -> None:
        self._device = images.device.type
        workspace = Workspace(products or images.dtype)
        self._column = ColumnBlock(images, config.patch_size)
        self._first = FirstLayer(config, images, workspace)
        self._hidden = [HiddenLayer(index, workspace) for index in range(1, len(config.hidden))]
        self._readout = MeanReadout() if config.readout == "mean" else TokenReadout(config, images)

    @torch.no_grad()
    def forward(self, parameters: Tensors) -> Tensor:
        """-> tokens ``(B, F)``."""
        with torch.autocast(self._device, enabled=False):
            return self._forward(parameters)

    @torch.no_grad()
    def backward(self, tokens: Tensor, gradients: Tensors) -> None:
        """Fills ``gradients`` from the gradient of the tokens that ``forward`` gave last, ``(B, F)``."""
        with torch.autocast(self._device, enabled=False):
            self._backward(tokens, gradients)

    def _forward(self, parameters: Tensors) -> Tensor:
        hidden = self._first.forward(parameters, self._column.forward(parameters))
        for layer in self._hidden:
            hidden = layer.forward(parameters, hidden)
        return self._readout.forward(parameters, hidden)

    def _backward(self, tokens: Tensor, gradients: Tensors) -> None:
        hidden = self._readout.backward(tokens, gradients)
        for layer in reversed(self._hidden):
            hidden = layer.backward(hidden, gradients)
        self._column.backward(self._first.backward(hidden, gradients), gradients)
