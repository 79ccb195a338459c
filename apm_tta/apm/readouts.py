"""Readouts from the last hidden layer to the global token, batched over images; ``blocks`` has the conventions."""

from __future__ import annotations

import torch
from torch import Tensor

from apm_tta.apm.blocks import Tensors
from apm_tta.apm.config import APMConfig
from apm_tta.apm.positions import code_on


class TokenReadout:
    r"""The learned query's attention, with features, keys and values folded away.

    With :math:`q' = W_q q + b_q`, per head :math:`a = W_k^\top q' / \sqrt d`, :math:`u = W_f^\top a`, P the features'
    position code, h the last hidden layer, and :math:`w = \mathrm{softmax}_l(u \cdot h_l + a \cdot P_l)` (the biases of
    key and feature add the same to every score and cancel)

    .. math::
        \bar x = W_f \textstyle\sum_l w_l h_l + b_f + \sum_l w_l P_l, \quad t = W_o [W_v \bar x + b_v]_{heads} + b_o
    """

    def __init__(self, config: APMConfig, like: Tensor) -> None:
        self._heads = config.heads
        self._scale = (config.feature_dim // config.heads) ** -0.5
        self._code = code_on(config.grid, config.feature_dim, like.dtype, like.device).flatten(0, 1)  # (L, F)

    def forward(self, parameters: Tensors, hidden: Tensor) -> Tensor:
        """Compute t, ``(B, F)``, from h, ``(B, L, H)``."""
        self._parameters, self._hidden = parameters, hidden
        query = self._linear("project_query", parameters["global_token.query"])
        self._query = query.unflatten(1, (self._heads, -1)) * self._scale  # (B, heads, d)
        feature_head = parameters["feature_head.weight"]
        self._keys = torch.matmul(self._query[:, :, None], self._by_head("project_key"))[:, :, 0]  # a, (B, heads, F)
        self._folded = torch.bmm(self._keys, feature_head)  # u, (B, heads, H)
        scores = torch.bmm(self._folded, hidden.transpose(1, 2)) + torch.matmul(self._keys, self._code.T)
        self._weights = scores.softmax(-1)  # (B, heads, L)
        self._mean = torch.bmm(self._weights, hidden)  # (B, heads, H)
        attended = torch.baddbmm(parameters["feature_head.bias"][:, None], self._mean, feature_head.transpose(1, 2))
        self._attended = attended.add_(torch.matmul(self._weights, self._code))  # (B, heads, F)
        values = torch.matmul(self._by_head("project_value"), self._attended[..., None]).flatten(1)
        self._values = values + parameters["global_token.project_value.bias"]
        return self._linear("project_output", self._values)

    def backward(self, token: Tensor, gradients: Tensors) -> Tensor:
        """Return the gradient of h from that of t, and write the parameters' own."""
        parameters = self._parameters
        feature_head = parameters["feature_head.weight"]
        values = self._linear_backward("project_output", self._values, token, gradients)
        gradients["global_token.project_value.bias"].copy_(values)
        values = values.unflatten(1, (self._heads, -1))
        self._set_by_head(gradients, "project_value", values, self._attended)
        attended = torch.matmul(values[:, :, None], self._by_head("project_value"))[:, :, 0]  # (B, heads, F)

        mean = torch.bmm(attended, feature_head)  # (B, heads, H)
        weights = torch.bmm(mean, self._hidden.transpose(1, 2)) + torch.matmul(attended, self._code.T)
        scores = self._weights * (weights - (weights * self._weights).sum(-1, keepdim=True))
        folded = torch.bmm(scores, self._hidden)  # (B, heads, H)
        keys = torch.bmm(folded, feature_head.transpose(1, 2)) + torch.matmul(scores, self._code)
        # One product computes both sums over heads, and another the two that reach the hidden layer.
        left = torch.cat([attended, self._keys], 1).transpose(1, 2)
        torch.bmm(left, torch.cat([self._mean, folded], 1), out=gradients["feature_head.weight"])
        torch.sum(attended, 1, out=gradients["feature_head.bias"])
        hidden = torch.bmm(torch.cat([self._weights, scores], 1).transpose(1, 2), torch.cat([mean, self._folded], 1))

        self._set_by_head(gradients, "project_key", self._query, keys)
        gradients["global_token.project_key.bias"].zero_()
        query = torch.matmul(self._by_head("project_key"), keys[..., None]).flatten(1) * self._scale
        gradients["global_token.query"].copy_(
            self._linear_backward("project_query", parameters["global_token.query"], query, gradients)
        )
        return hidden

    def _linear(self, name: str, value: Tensor) -> Tensor:
        weight, bias = (self._parameters[f"global_token.{name}.{kind}"] for kind in ("weight", "bias"))
        return torch.baddbmm(bias[:, :, None], weight, value[:, :, None])[:, :, 0]

    def _linear_backward(self, name: str, value: Tensor, output: Tensor, gradients: Tensors) -> Tensor:
        torch.mul(output[:, :, None], value[:, None], out=gradients[f"global_token.{name}.weight"])
        gradients[f"global_token.{name}.bias"].copy_(output)
        return torch.bmm(output[:, None], self._parameters[f"global_token.{name}.weight"])[:, 0]

    def _by_head(self, name: str) -> Tensor:
        """Return a projection's weight as ``(B, heads, d, F)``."""
        weight: Tensor = self._parameters[f"global_token.{name}.weight"].unflatten(1, (self._heads, -1))
        return weight

    def _set_by_head(self, gradients: Tensors, name: str, left: Tensor, right: Tensor) -> None:
        weight = gradients[f"global_token.{name}.weight"].unflatten(1, (self._heads, -1))
        torch.mul(left[..., None], right[:, :, None], out=weight)


class MeanReadout:
    """The average feature, computed from the average hidden layer."""

    def forward(self, parameters: Tensors, hidden: Tensor) -> Tensor:
        """Compute t, ``(B, F)``, from h, ``(B, L, H)``."""
        self._weight, self._locations, self._mean = parameters["feature_head.weight"], hidden.shape[1], hidden.mean(1)
        return torch.baddbmm(parameters["feature_head.bias"][:, :, None], self._weight, self._mean[:, :, None])[:, :, 0]

    def backward(self, token: Tensor, gradients: Tensors) -> Tensor:
        """Return the gradient of h from that of t; the learned query's own parameters get none."""
        torch.mul(token[:, :, None], self._mean[:, None], out=gradients["feature_head.weight"])
        gradients["feature_head.bias"].copy_(token)
        hidden: Tensor = torch.bmm(token[:, None], self._weight) / self._locations
        return hidden.expand(-1, self._locations, -1).contiguous()
