"""Values of weights: what copying into a model would change silently, and what no training leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from apm_tta.errors import UserError
from apm_tta.teachers.weight_names import first_few
from apm_tta.wording import pluralise

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def refuse_unusable_values(model: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse tensors that are not the numbers a model's own tensor of that name can take.

    Weights may be of half or double precision. Integers, complex, quantised and 8-bit numbers are no weights, although
    torch would copy them; nor are matrices of zeros, unless the architecture begins with these.

    Args:
        model: with its initial values.
        state: tensors by the model's names, in its shapes.
        path: of the file, for messages.

    Raises:
        UserError: naming a few tensors and what is wrong with them.
    """
    own, parameters = model.state_dict(), {name for name, _ in model.named_parameters()}
    faults: dict[str, list[str]] = {}
    for name, value in state.items():
        if name in own and (fault := _fault(value, own[name], name in parameters) or _as_variance(name, value)):
            faults.setdefault(fault, []).append(name)
    if faults:
        raise UserError(f"{path} holds no usable weights: {'; '.join(_said(*each) for each in faults.items())}")


def _fault(value: Tensor, own: Tensor, is_parameter: bool) -> str:
    """Return what is wrong with a tensor; empty where nothing is."""
    if value.is_quantized or value.layout != torch.strided or value.device.type != "cpu":
        return f"{'quantised' if value.is_quantized else 'not dense'} ({value.dtype})"
    if own.is_floating_point():
        if value.dtype not in _FLOATS:
            return f"{value.dtype} in the place of floating-point weights"
        cast = value.to(own.dtype)
        if not _is_finite(cast):
            return "" if not is_parameter and torch.equal(cast, own) else "not finite"
        is_matrix = is_parameter and value.ndim > 1 and value.numel() > max(value.shape)
        return "all zeros" if is_matrix and not bool(cast.any()) and bool(own.any()) else ""
    if value.is_complex() != own.is_complex():
        return f"{value.dtype} in the place of {own.dtype}"
    # Buffers, such as the counters of batch normalisation or the indices of relative positions.
    return (
        "" if torch.equal(value.to(own.dtype).to(value.dtype), value) else f"{value.dtype} that {own.dtype} cannot hold"
    )


def _is_finite(value: Tensor) -> bool:
    """Return whether all values are finite: where one is NaN both ends are, and this reads the values only once."""
    return not value.numel() or all(bool(end.isfinite()) for end in value.aminmax())


def _as_variance(name: str, value: Tensor) -> str:
    """Return what is wrong with a tensor of batch normalisation, whose root is taken; empty where nothing is."""
    is_variance = name.rpartition(".")[2] == "running_var"
    return "negative, which no variance is" if is_variance and bool((value < 0).any()) else ""


def _said(fault: str, names: list[str]) -> str:
    return f"{pluralise(len(names), 'tensor is', 'tensors are')} {fault} ({first_few(names)})"
