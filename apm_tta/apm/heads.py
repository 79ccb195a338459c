"""The grid of features and the decoded image, batched over images; run only where a loss or a caller needs them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from apm_tta.apm.blocks import HiddenLayer, QueryLayer, Tensors, Workspace, relu_backward_
from apm_tta.apm.config import IMAGENET_MEAN, IMAGENET_STD, APMConfig


def rgb_target(images: Tensor, patch_size: int) -> Tensor:
    """Return mean colours of the patches, 0 .. 1, ``(B, g * g, 3)``, of ImageNet-normalised images ``(B, 3, S, S)``."""
    mean, std = (images.new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    return avg_pool2d(images * std + mean, patch_size).flatten(2).transpose(1, 2)


class FeatureHead:
    """The feature of every location, :math:`f = W_f h + b_f`."""

    def forward(self, parameters: Tensors, hidden: Tensor) -> Tensor:
        """Compute f, ``(B, L, F)``, from h, ``(B, L, H)``."""
        self._hidden, self._weight = hidden, parameters["feature_head.weight"]
        return torch.baddbmm(parameters["feature_head.bias"][:, None], hidden, self._weight.transpose(1, 2))

    def backward(self, features: Tensor, gradients: Tensors) -> Tensor:
        """Return the gradient of h from that of f; add to what the readout left in the head's gradients."""
        gradients["feature_head.weight"].baddbmm_(features.transpose(1, 2), self._hidden)
        gradients["feature_head.bias"].add_(features.sum(1))
        return torch.bmm(features, self._weight)


class RGBHead:
    """The colour of every location from [f ; u]: three ReLU layers, the first split as ``QueryLayer`` splits it."""

    def __init__(self, config: APMConfig, like: Tensor) -> None:
        workspace = Workspace(like.dtype)
        self._query = QueryLayer("rgb_head.0", config, like, workspace, offset=config.feature_dim)
        self._layers = [HiddenLayer(f"rgb_head.{index}", workspace) for index in (1, 2)]
        self._width, self._grid = config.feature_dim, (config.grid, config.grid)

    def forward(self, parameters: Tensors, features: Tensor, column: Tensor) -> Tensor:
        """Compute colours, ``(B, L, 3)``, from f, ``(B, L, F)``, and c, ``(B, D)``."""
        self._features = features
        self._weight = parameters["rgb_head.0.weight"][:, :, : self._width]
        hidden = self._query.forward(parameters, column).flatten(1, 2)
        self._hidden = hidden.baddbmm_(features, self._weight.transpose(1, 2)).relu_()
        output = self._hidden
        for layer in self._layers:
            output = layer.forward(parameters, output)
        return output

    def backward(self, colours: Tensor, gradients: Tensors) -> tuple[Tensor, Tensor]:
        """Return the gradients of f, ``(B, L, F)``, and c, ``(B, D)``, from the colours'; write the head's own."""
        for layer in reversed(self._layers):
            colours = layer.backward(colours, gradients)
        before = relu_backward_(colours, self._hidden)
        column = self._query.backward(before.unflatten(1, self._grid), gradients)
        gradients["rgb_head.0.weight"][:, :, : self._width] = torch.bmm(before.transpose(1, 2), self._features)
        return torch.bmm(before, self._weight), column
