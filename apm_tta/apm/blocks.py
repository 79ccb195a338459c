"""The parts of B fresh APMs as one batched problem: each with its forward and its hand-written backward pass.

Tensors have a leading image axis; parameters and gradients are dictionaries keyed by the names in
``APM.named_parameters()``.
Every identity used here is algebra, not approximation, and is tested against the plain ``APM``:

* the position code splits into a part for the column index and one for the row index, and the column is the same at
  every location, so the first layer's pre-activation is a sum of 1 + 2 g vectors instead of g squared products;
* a single query attends, so scores and output need features only through sums over locations: the feature, key and
  value of a location are never formed (``readouts``), unless a loss or a caller needs the grid (``heads``).

A block keeps what its backward pass needs, and writes large results into memory that it allocated once: at published
size every iteration would otherwise request tens of megabytes of fresh pages from the system.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from apm_tta.apm.config import APMConfig
from apm_tta.apm.positions import code_on

Tensors = dict[str, Tensor]


@dataclass
class Workspace:
    """Memory that is allocated once and overwritten at every iteration.

    Attributes:
        products: data type in which large matrix products are computed; everything else keeps the parameters' type.
    """

    products: torch.dtype
    _buffers: dict[str, Tensor] = field(default_factory=dict)

    def take(self, name: str, shape: tuple[int, ...], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Return the buffer of that name, on ``like``'s device; its former contents are lost."""
        buffer = self._buffers.get(name)
        if buffer is None or buffer.shape != shape:
            buffer = self._buffers[name] = torch.empty(shape, dtype=dtype or like.dtype, device=like.device)
        return buffer

    def convert(self, name: str, value: Tensor, dtype: torch.dtype) -> Tensor:
        """Return ``value`` in ``dtype``: itself, or a copy in this workspace."""
        return value if value.dtype == dtype else self.take(name, tuple(value.shape), value, dtype).copy_(value)

    def round_for_products(self, name: str, value: Tensor) -> Tensor:
        """Return ``value`` in the data type of the products: itself, or a copy in this workspace."""
        return self.convert(name, value, self.products)


def product(left: Tensor, right: Tensor, out: Tensor, bias: Tensor | None = None) -> Tensor:
    """Write left @ right (+ bias, ``(B, N)``) per image to ``out``; one image takes the faster unbatched kernel."""
    if len(left) == 1:
        if bias is None:
            torch.mm(left[0], right[0], out=out[0])
        else:
            torch.addmm(bias[0], left[0], right[0], out=out[0])
    elif bias is None:
        torch.bmm(left, right, out=out)
    else:
        torch.baddbmm(bias[:, None], left, right, out=out)
    return out


def relu_backward_(gradient: Tensor, output: Tensor) -> Tensor:
    """Zero ``gradient`` where a ReLU's ``output`` is not positive; in place, in one pass over memory."""
    torch.ops.aten.threshold_backward.grad_input(gradient, output, 0, grad_input=gradient)
    return gradient


class ColumnBlock:
    """The column c: a convolution with kernel and stride P is a product with the patches, which never change.

    Args:
        images: ``(B, 3, S, S)``.
        patch_size: P.
    """

    def __init__(self, images: Tensor, patch_size: int) -> None:
        patches = images.unfold(2, patch_size, patch_size).unfold(3, patch_size, patch_size)
        self._patches = patches.permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2).contiguous()  # (B, D, 3 P P)

    def forward(self, parameters: Tensors) -> Tensor:
        """Compute c, ``(B, D)``."""
        kernel = parameters["convolution.weight"].flatten(1)[:, :, None]
        return torch.baddbmm(parameters["convolution.bias"][:, :, None], self._patches, kernel)[:, :, 0]

    def backward(self, column: Tensor, gradients: Tensors) -> None:
        """Write the convolution's gradients, from the gradient of c, ``(B, D)``."""
        kernel = gradients["convolution.weight"]
        kernel.copy_(torch.bmm(column[:, None], self._patches).view_as(kernel))
        torch.sum(column, 1, keepdim=True, out=gradients["convolution.bias"])


class QueryLayer:
    r"""A linear layer over the query u = [c ; p(i, j)] of every location, computed by 1 + 2 g products.

    With :math:`W = [W_c \mid W_j \mid W_i]` and the halves :math:`p_j, p_i` of the position code

    .. math:: y(i, j) = (W_c c + b) + W_j p_j + W_i p_i

    Args:
        name: name of the layer; the columns of its weight from ``offset`` on belong to u.
        offset: number of the weight's columns before those of u.
    """

    def __init__(self, name: str, config: APMConfig, like: Tensor, workspace: Workspace, offset: int = 0) -> None:
        half = config.position_dim // 2
        code = code_on(config.grid, config.position_dim, like.dtype, like.device)
        self._by_column, self._by_row = code[0, :, :half], code[:, 0, half:]
        middle, end = offset + config.column_dim, offset + config.column_dim + half
        self._slices = slice(offset, middle), slice(middle, end), slice(end, end + half)
        self._name, self._workspace = name, workspace

    def forward(self, parameters: Tensors, column: Tensor) -> Tensor:
        """Compute y, ``(B, g, g, H)``, from c, ``(B, D)``."""
        weight = parameters[f"{self._name}.weight"]
        whole, by_column, by_row = self._slices
        self._column, self._weight = column, weight[:, :, whole]
        image = torch.baddbmm(parameters[f"{self._name}.bias"][:, :, None], self._weight, column[:, :, None])
        columns = torch.matmul(self._by_column, weight[:, :, by_column].transpose(1, 2))  # (B, g, H)
        rows = torch.matmul(self._by_row, weight[:, :, by_row].transpose(1, 2)) + image.transpose(1, 2)
        shape = (len(column), rows.shape[1], columns.shape[1], weight.shape[1])
        output = self._workspace.take(self._name, shape, weight, self._workspace.products)
        return torch.add(rows[:, :, None], columns[:, None], out=output)

    def backward(self, output: Tensor, gradients: Tensors) -> Tensor:
        """Return the gradient of c, ``(B, D)``, from that of y, ``(B, g, g, H)``, and write the layer's own."""
        weight = gradients[f"{self._name}.weight"]
        columns, rows = (output.sum(axis, dtype=weight.dtype) for axis in (1, 2))  # (B, g, H)
        image = gradients[f"{self._name}.bias"]
        torch.sum(rows, 1, out=image)
        whole, by_column, by_row = self._slices
        torch.mul(image[:, :, None], self._column[:, None], out=weight[:, :, whole])
        weight[:, :, by_column] = torch.matmul(columns.transpose(1, 2), self._by_column)
        weight[:, :, by_row] = torch.matmul(rows.transpose(1, 2), self._by_row)
        return torch.bmm(image[:, None], self._weight)[:, 0]


class FirstLayer:
    """The first ReLU layer of the MLP, :math:`h = relu(W u + b)`."""

    def __init__(self, config: APMConfig, like: Tensor, workspace: Workspace) -> None:
        self._query = QueryLayer("mlp.0", config, like, workspace)
        self._grid = (config.grid, config.grid)

    def forward(self, parameters: Tensors, column: Tensor) -> Tensor:
        """Compute h, ``(B, g * g, H)``, from c, ``(B, D)``."""
        self._hidden = self._query.forward(parameters, column).relu_().flatten(1, 2)
        return self._hidden

    def backward(self, hidden: Tensor, gradients: Tensors) -> Tensor:
        """Return the gradient of c, ``(B, D)``, from that of h, which is overwritten; write the layer's own."""
        return self._query.backward(relu_backward_(hidden, self._hidden).unflatten(1, self._grid), gradients)


class HiddenLayer:
    """A further ReLU layer, :math:`h' = relu(W h + b)`: the products that take nearly all the time.

    Activations and their gradients have the data type of the products; weights and their gradients keep their own.
    """

    def __init__(self, name: str, workspace: Workspace) -> None:
        self._name, self._workspace = name, workspace

    def forward(self, parameters: Tensors, hidden: Tensor) -> Tensor:
        """Compute h', ``(B, L, H')``, from h, ``(B, L, H)``."""
        name, workspace = self._name, self._workspace
        weight, bias = (
            workspace.round_for_products(f"{name}.{kind}", parameters[f"{name}.{kind}"]) for kind in ("weight", "bias")
        )
        self._before, self._weight = hidden, weight
        after = workspace.take(f"{name}.after", (*hidden.shape[:2], weight.shape[1]), weight)
        self._after = product(hidden, weight.transpose(1, 2), after, bias).relu_()
        return self._after

    def backward(self, after: Tensor, gradients: Tensors) -> Tensor:
        """Return the gradient of h from that of h', which is overwritten; write the layer's own."""
        name, workspace = self._name, self._workspace
        relu_backward_(after, self._after)
        weight = gradients[f"{name}.weight"]
        torch.sum(after, 1, dtype=weight.dtype, out=gradients[f"{name}.bias"])
        if after.dtype == weight.dtype:
            product(after.transpose(1, 2), self._before, weight)
        else:
            weight.copy_(
                product(
                    after.transpose(1, 2),
                    self._before,
                    workspace.take(f"{name}.weight_gradient", tuple(weight.shape), after),
                )
            )
        before = workspace.take(f"{name}.before_gradient", tuple(self._before.shape), after)
        return product(after, self._weight, before)
