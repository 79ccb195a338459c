"""B fresh APMs as one batched problem: the distillation loss and its gradient, assembled from the blocks."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

from apm_tta.apm.blocks import ColumnBlock, FirstLayer, HiddenLayer, Tensors, Workspace
from apm_tta.apm.config import APMConfig
from apm_tta.apm.heads import FeatureHead, RGBHead, rgb_target
from apm_tta.apm.readouts import MeanReadout, TokenReadout

_log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an allocation failed: CUDA has a type for it, the CPU's allocator only a message."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


@dataclass(frozen=True)
class Goals:
    """What B images are fitted to.

    Attributes:
        tokens: the teacher's embeddings, ``(B, F)``.
        token_weight: weight of the token's mean squared error.
        grids: the teacher's patch tokens, ``(B, g * g, F)``; needed where ``grid_weight`` is not 0.
        grid_weight: weight of the features' mean squared error.
        rgb_weight: weight of the decoded image's mean squared error.
        columns: the teacher's tokens where ``config.column`` is ``vit``, ``(B, F)``.
    """

    tokens: Tensor
    token_weight: float = 1.0
    grids: Tensor | None = None
    grid_weight: float = 0.0
    rgb_weight: float = 0.0
    columns: Tensor | None = None


class Engine:
    r"""Loss and gradient of B images with B separate sets of parameters.

    .. math::
        L = \lambda_t \tfrac1F \lVert t - z \rVert^2 + \lambda_g \tfrac1{LF} \lVert f - Z \rVert^2
            + \lambda_r \tfrac1{3L} \lVert rgb - \bar x \rVert^2

    Args:
        images: ``(B, 3, S, S)``, ImageNet-normalised.
        config: sizes of the APMs, the same for all.
        goals: what they are fitted to.
        products: data type of the large matrix products: that of the images, or bfloat16 with float32 weights and
            moments.
    """

    def __init__(self, images: Tensor, config: APMConfig, goals: Goals, products: torch.dtype | None = None) -> None:
        self._workspace = workspace = Workspace(products or images.dtype)
        self._device, self._token_dtype, self._goals = images.device.type, images.dtype, goals
        self._grid = (config.grid, config.grid)
        self._column = ColumnBlock(images, config.patch_size) if config.column == "conv" else None
        self._first = FirstLayer(config, images, workspace)
        self._hidden = [HiddenLayer(f"mlp.{index}", workspace) for index in range(1, len(config.hidden))]
        self._readout = MeanReadout() if config.readout == "mean" else TokenReadout(config, images)
        self._features = FeatureHead() if goals.grid_weight or goals.rgb_weight else None
        self._rgb = RGBHead(config, images) if goals.rgb_weight else None
        self._colours = rgb_target(images, config.patch_size) if goals.rgb_weight else None

    @torch.no_grad()
    def forward(self, parameters: Tensors) -> tuple[Tensor, Tensor]:
        """Compute tokens, ``(B, F)``, and losses, ``(B,)``."""
        with torch.autocast(self._device, enabled=False):
            return self._forward(parameters)

    @torch.no_grad()
    def backward(self, gradients: Tensors) -> None:
        """Fill ``gradients`` with those of the sum of the losses that ``forward`` returned last."""
        with torch.autocast(self._device, enabled=False):
            self._backward(gradients)

    @torch.no_grad()
    def features(self, parameters: Tensors) -> Tensor:
        """Return f of every location, ``(B, g, g, F)``; ``parameters`` are those of the last ``forward``, unchanged."""
        features: Tensor = FeatureHead().forward(parameters, self._last_hidden).unflatten(1, self._grid)
        return features

    def compile(self) -> None:
        """Have ``torch.compile`` compile both passes at their second call; where that fails, they stay as they are."""
        self._forward = self._compiled(self._forward)  # type: ignore[method-assign]
        self._backward = self._compiled(self._backward)  # type: ignore[method-assign]

    def _compiled(self, plain: Callable[P, T]) -> Callable[P, T]:
        chosen: Callable[P, T] = torch.compile(plain)
        first = True

        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            nonlocal chosen, first
            if first:  # it allocates the workspace: what is compiled without one is compiled again as soon as there is
                first = False
                return plain(*args, **kwargs)
            try:
                return chosen(*args, **kwargs)
            except Exception as error:  # no compiler, no Triton, or an operation that it does not support
                if chosen is plain or is_out_of_memory(error):
                    raise
                _log.warning("torch.compile is not available here (%s); continuing without it", type(error).__name__)
                chosen = plain
                return chosen(*args, **kwargs)

        return call

    def _forward(self, parameters: Tensors) -> tuple[Tensor, Tensor]:
        goals = self._goals
        column = goals.columns if self._column is None else self._column.forward(parameters)
        assert column is not None
        hidden = self._first.forward(parameters, column)
        for layer in self._hidden:
            hidden = layer.forward(parameters, hidden)
        hidden = self._workspace.convert("readout", hidden, self._token_dtype)
        self._last_hidden = hidden
        tokens = self._readout.forward(parameters, hidden)
        self._token_error = tokens - goals.tokens
        losses = goals.token_weight * self._token_error.square().mean(1)
        if self._features is not None:
            features = self._features.forward(parameters, hidden)
            if goals.grids is not None:
                self._grid_error = features - goals.grids
                losses = losses + goals.grid_weight * self._grid_error.square().mean((1, 2))
            if self._rgb is not None and self._colours is not None:
                self._rgb_error = self._rgb.forward(parameters, features, column) - self._colours
                losses = losses + goals.rgb_weight * self._rgb_error.square().mean((1, 2))
        return tokens, losses

    def _backward(self, gradients: Tensors) -> None:
        goals = self._goals
        hidden = self._readout.backward(_mean_square_gradient(self._token_error, goals.token_weight), gradients)
        decoded_column = None
        if self._features is not None:
            features = None
            if goals.grids is not None:
                features = _mean_square_gradient(self._grid_error, goals.grid_weight)
            if self._rgb is not None:
                decoded, decoded_column = self._rgb.backward(
                    _mean_square_gradient(self._rgb_error, goals.rgb_weight), gradients
                )
                features = decoded if features is None else features + decoded
            assert features is not None
            hidden = hidden + self._features.backward(features, gradients)
        hidden = self._workspace.round_for_products("readout.gradient", hidden)
        for layer in reversed(self._hidden):
            hidden = layer.backward(hidden, gradients)
        column = self._first.backward(hidden, gradients)
        if self._column is not None:
            self._column.backward(column if decoded_column is None else column + decoded_column, gradients)


def _mean_square_gradient(error: Tensor, weight: float) -> Tensor:
    """Return the gradient of ``weight`` times the mean square of each image's ``error``."""
    return error * (2 * weight / error[0].numel())
