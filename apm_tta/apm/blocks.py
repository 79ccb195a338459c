"""The parts of B fresh APMs as one batched problem: each with its forward and its hand-written backward pass.

Tensors have a leading image axis; parameters and gradients are dictionaries by the names of ``APM.named_parameters()``.
Every identity used here is algebra (design, "The same function, cheaper"), and is tested against the plain ``APM``:

* the position code splits into a part for the column index and one for the row index, and the column is the same at
  every location, so the first layer's pre-activation is a sum of 1 + 2 g vectors instead of g squared products;
* one query attends, so scores and output need features only through sums over locations: with h the last hidden
  layer and W_f the feature head, no feature, key or value of a location is ever formed.

A block keeps what its backward pass needs, and writes into memory that it allocated once: at published size an
iteration would otherwise wait for fresh pages as long as for its arithmetic's tenth part.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from apm_tta.apm.config import APMConfig
from apm_tta.apm.positions import sine_cosine_code

Tensors = dict[str, Tensor]


@dataclass
class Workspace:
    """Memory that is allocated once and written at every iteration.

    Attributes:
        products: type in which large matrix products are computed; everything else stays in the parameters' type.
    """

    products: torch.dtype
    _buffers: dict[str, Tensor] = field(default_factory=dict)

    def take(self, name: str, shape: tuple[int, ...], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """The buffer of that name, on ``like``'s device; what it held before is gone."""
        buffer = self._buffers.get(name)
        if buffer is None or buffer.shape != shape:
            buffer = self._buffers[name] = torch.empty(shape, dtype=dtype or like.dtype, device=like.device)
        return buffer

    def rounded(self, name: str, value: Tensor) -> Tensor:
        """``value`` in the type of the products: itself, or a copy in this workspace."""
        if value.dtype == self.products:
            return value
        return self.take(name, tuple(value.shape), value, self.products).copy_(value)


class ColumnBlock:
    r"""The column c: one convolution with kernel and stride P is a product with the patches, which never change.

    Args:
        images: ``(B, 3, S, S)``.
    """

    def __init__(self, images: Tensor, patch_size: int) -> None:
        patches = images.unfold(2, patch_size, patch_size).unfold(3, patch_size, patch_size)
        self._patches = patches.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2).contiguous()  # (B, D, 3 P P)

    def forward(self, parameters: Tensors) -> Tensor:
        """-> c, ``(B, D)``."""
        kernel = parameters["convolution.weight"].flatten(1)[:, :, None]
        return torch.baddbmm(parameters["convolution.bias"][:, :, None], self._patches, kernel)[:, :, 0]

    def backward(self, column: Tensor, gradients: Tensors) -> None:
        """From the gradient of c, ``(B, D)``."""
        kernel = gradients["convolution.weight"]
        kernel.copy_(torch.bmm(column[:, None], self._patches).view_as(kernel))
        torch.sum(column, 1, keepdim=True, out=gradients["convolution.bias"])


class FirstLayer:
    r"""The first ReLU layer at every location, from 1 + 2 g products.

    With :math:`W = [W_c \mid W_j \mid W_i]` and the halves :math:`p_j, p_i` of the position code

    .. math:: h(i, j) = \mathrm{relu}\big((W_c c + b) + W_j p_j + W_i p_i\big)
    """

    def __init__(self, config: APMConfig, like: Tensor, workspace: Workspace) -> None:
        width = config.column_dim
        code = sine_cosine_code(config.grid, width).to(like)
        self._by_column, self._by_row = code[0, :, : width // 2], code[:, 0, width // 2 :]
        self._width, self._grid, self._workspace = width, config.grid, workspace

    def forward(self, parameters: Tensors, column: Tensor) -> Tensor:
        """c ``(B, D)`` -> h ``(B, g * g, H)``."""
        self._column = column
        self._weight = weight = parameters["mlp.0.weight"]
        width, half = self._width, self._width // 2
        image = torch.baddbmm(parameters["mlp.0.bias"][:, :, None], weight[:, :, :width], column[:, :, None])
        columns = torch.matmul(self._by_column, weight[:, :, width : width + half].transpose(1, 2))  # (B, g, H)
        rows = torch.matmul(self._by_row, weight[:, :, width + half :].transpose(1, 2)) + image.transpose(1, 2)
        shape = (len(column), self._grid, self._grid, weight.shape[1])
        hidden = self._workspace.take("hidden.0", shape, weight)
        torch.add(rows[:, :, None], columns[:, None], out=hidden).relu_()
        self._hidden = hidden.flatten(1, 2)
        return self._hidden

    def backward(self, hidden: Tensor, gradients: Tensors) -> Tensor:
        """From the gradient of h, which is overwritten, to that of c, ``(B, D)``."""
        before = hidden.mul_(self._hidden > 0).unflatten(1, (self._grid, self._grid))
        columns, rows = before.sum(1), before.sum(2)  # (B, g, H)
        image = gradients["mlp.0.bias"]
        torch.sum(rows, 1, out=image)
        weight, width, half = gradients["mlp.0.weight"], self._width, self._width // 2
        weight[:, :, :width] = image[:, :, None] * self._column[:, None]
        weight[:, :, width : width + half] = torch.matmul(columns.transpose(1, 2), self._by_column)
        weight[:, :, width + half :] = torch.matmul(rows.transpose(1, 2), self._by_row)
        return torch.bmm(image[:, None], self._weight[:, :, :width])[:, 0]


class HiddenLayer:
    """A further ReLU layer, :math:`h' = relu(W h + b)`: the products that all the time goes into."""

    def __init__(self, index: int, workspace: Workspace) -> None:
        self._name, self._workspace = f"mlp.{index}", workspace

    def forward(self, parameters: Tensors, hidden: Tensor) -> Tensor:
        """h ``(B, L, H)`` -> h' ``(B, L, H')``."""
        name, workspace = self._name, self._workspace
        weight, bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
        self._before = workspace.rounded(f"{name}.before", hidden)
        self._weight = workspace.rounded(f"{name}.weight", weight)
        shape = (*hidden.shape[:2], weight.shape[1])
        after = workspace.take(f"{name}.after", shape, weight)
        if self._before.dtype == after.dtype:
            torch.baddbmm(bias[:, None], self._before, self._weight.transpose(1, 2), out=after)
        else:
            product = workspace.take(f"{name}.product", shape, weight, workspace.products)
            torch.bmm(self._before, self._weight.transpose(1, 2), out=product)
            torch.add(product, bias[:, None], out=after)
        self._after = after.relu_()
        return self._after

    def backward(self, after: Tensor, gradients: Tensors) -> Tensor:
        """From the gradient of h', which is overwritten, to that of h."""
        name, workspace = self._name, self._workspace
        after.mul_(self._after > 0)
        torch.sum(after, 1, out=gradients[f"{name}.bias"])
        rounded = workspace.rounded(f"{name}.gradient", after)
        weight = gradients[f"{name}.weight"]
        before = workspace.take(f"{name}.before_gradient", (*after.shape[:2], weight.shape[2]), after)
        self._product(f"{name}.weight_product", rounded.transpose(1, 2), self._before, weight)
        self._product(f"{name}.before_product", rounded, self._weight, before)
        return before

    def _product(self, name: str, left: Tensor, right: Tensor, out: Tensor) -> None:
        if left.dtype == out.dtype:
            torch.bmm(left, right, out=out)
        else:
            out.copy_(torch.bmm(left, right, out=self._workspace.take(name, tuple(out.shape), left)))


class TokenReadout:
    r"""The learned query's attention, with features, keys and values folded away.

    With :math:`q' = W_q q + b_q`, per head :math:`a = W_k^\top q' / \sqrt d`, :math:`u = W_f^\top a`, P the features'
    position code, h the last hidden layer, and :math:`w = \mathrm{softmax}_l(u \cdot h_l + a \cdot P_l)` (the key's
    and the feature's bias add the same to every score and cancel)

    .. math::
        \bar x = W_f \textstyle\sum_l w_l h_l + b_f + \sum_l w_l P_l, \quad t = W_o [W_v \bar x + b_v]_{heads} + b_o
    """

    def __init__(self, config: APMConfig, like: Tensor) -> None:
        self._heads = config.heads
        self._scale = (config.feature_dim // config.heads) ** -0.5
        self._code = sine_cosine_code(config.grid, config.feature_dim).flatten(0, 1).to(like)  # (L, F)

    def forward(self, parameters: Tensors, hidden: Tensor) -> Tensor:
        """h ``(B, L, H)`` -> t ``(B, F)``."""
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
        """From the gradient of t to that of h."""
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
        # Both sums over heads in one product, as are the two that reach the hidden layer.
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
        """A projection's weight as ``(B, heads, d, F)``."""
        weight: Tensor = self._parameters[f"global_token.{name}.weight"].unflatten(1, (self._heads, -1))
        return weight

    def _set_by_head(self, gradients: Tensors, name: str, left: Tensor, right: Tensor) -> None:
        weight = gradients[f"global_token.{name}.weight"].unflatten(1, (self._heads, -1))
        torch.mul(left[..., None], right[:, :, None], out=weight)


class MeanReadout:
    """The average feature, through the average hidden layer."""

    def forward(self, parameters: Tensors, hidden: Tensor) -> Tensor:
        """h ``(B, L, H)`` -> t ``(B, F)``."""
        self._weight, self._locations, self._mean = parameters["feature_head.weight"], hidden.shape[1], hidden.mean(1)
        return torch.baddbmm(parameters["feature_head.bias"][:, :, None], self._weight, self._mean[:, :, None])[:, :, 0]

    def backward(self, token: Tensor, gradients: Tensors) -> Tensor:
        """From the gradient of t to that of h; the learned query's own parameters get none."""
        torch.mul(token[:, :, None], self._mean[:, None], out=gradients["feature_head.weight"])
        gradients["feature_head.bias"].copy_(token)
        hidden: Tensor = torch.bmm(token[:, None], self._weight) / self._locations
        return hidden.expand(-1, self._locations, -1).contiguous()
