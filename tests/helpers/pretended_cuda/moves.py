"""Calls of torch that move a tensor, or its values, between the host and the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn.functional import one_hot

from pretended_cuda.pinned import PINNED
from pretended_cuda.sites import SITES
from pretended_cuda.tensor import CUDA, DeviceTensor, as_seen, on_device
from pretended_cuda.waits import WAITS


class _ToDevice(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, tensor: Tensor, dtype: torch.dtype, later: bool) -> Tensor:
        context.dtype = tensor.dtype
        return _copied_to_device(tensor, dtype, later)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return to_host(gradient.detach(), context.dtype, False), None, None


class _ToHost(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, tensor: Tensor, dtype: torch.dtype, later: bool) -> Tensor:
        context.dtype = tensor.dtype
        return _copied_to_host(tensor, dtype, later)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return to_device(gradient.detach(), context.dtype, False), None, None


def to_device(tensor: Tensor, dtype: torch.dtype | None, later: bool) -> Tensor:
    """Copy a tensor of the CPU to the device."""
    copied = _ToDevice.apply if tensor.requires_grad else _copied_to_device
    return copied(tensor, dtype or tensor.dtype, later)  # type: ignore[no-any-return]


def to_host(tensor: Tensor, dtype: torch.dtype | None, later: bool) -> Tensor:
    """Copy a tensor of the device to the CPU; ``later`` into pinned memory, without a wait."""
    copied = _ToHost.apply if tensor.requires_grad else _copied_to_host
    return copied(tensor, dtype or tensor.dtype, later)  # type: ignore[no-any-return]


def _copied_to_device(tensor: Tensor, dtype: torch.dtype, later: bool) -> Tensor:
    if not later:
        WAITS.note("copy to the device")
    moved: Tensor = on_device(tensor.detach().to(dtype, copy=True))
    return moved


def _copied_to_host(tensor: Tensor, dtype: torch.dtype, later: bool) -> Tensor:
    seen: Tensor = as_seen(tensor.detach())
    if not later:
        WAITS.note("copy to the host")
        return seen.to(dtype, copy=True)
    target = PINNED.add(torch.empty_like(seen, dtype=dtype))
    WAITS.copy_later(target, seen)
    return target


def _to(func: Callable[..., Any], tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    other = args[0] if args and isinstance(args[0], Tensor) else kwargs.pop("other", None)
    if other is not None:
        args = (other.device, other.dtype, *args[1:])
    copy = bool(kwargs.get("copy", args[3] if len(args) > 3 else False))
    device, dtype, later, _ = torch._C._nn._parse_to(*args, **kwargs)
    here = isinstance(tensor, DeviceTensor)
    if device is not None and device.type == "cpu" and here:
        return to_host(tensor, dtype, later)
    if device is not None and device.type == "cuda" and not here and SITES.carried_out():
        return to_device(tensor, dtype, later)
    wanted = dtype or tensor.dtype
    # Without a device that torch would look for.
    return tensor.clone() if copy and wanted == tensor.dtype else _same_place(tensor, wanted)


def _same_place(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor if tensor.dtype == dtype else tensor.type(dtype)


def _cuda(func: Callable[..., Any], tensor: Tensor, device: Any = None, non_blocking: bool = False) -> Tensor:
    return _to(Tensor.to, tensor, CUDA, non_blocking=non_blocking)


def _cpu(func: Callable[..., Any], tensor: Tensor, **kwargs: Any) -> Tensor:
    return _to(Tensor.to, tensor, torch.device("cpu"))


def _as_tensor(func: Callable[..., Any], data: Any, dtype: torch.dtype | None = None, device: Any = None) -> Tensor:
    if isinstance(data, Tensor):
        return _to(Tensor.to, data, device or data.device, dtype or data.dtype)
    made: Tensor = func(data, dtype=dtype)
    return made if device is None else _to(Tensor.to, made, device)


def _new_tensor(func: Callable[..., Any], tensor: Tensor, data: Any, **kwargs: Any) -> Tensor:
    """Make a tensor of values where ``tensor`` is."""
    made: Tensor = func(as_seen(tensor), data, **kwargs)
    return to_device(made, None, False) if isinstance(tensor, DeviceTensor) else made


def _tolist(func: Callable[..., Any], tensor: Tensor) -> Any:
    if isinstance(tensor, DeviceTensor):
        WAITS.note("copy to the host")
    return func(as_seen(tensor))


def _numpy(func: Callable[..., Any], tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
    if isinstance(tensor, DeviceTensor):
        _refuse_numpy()
    return func(tensor, *args, **kwargs)


def _refuse_numpy() -> NoReturn:
    raise TypeError(
        "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first."
    )


def _one_hot(func: Callable[..., Any], tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Carry it out as for CUDA, which trusts the classes that are given; the CPU looks at the smallest and largest."""
    if not isinstance(tensor, DeviceTensor):
        made: Tensor = func(tensor, num_classes)
        return made
    if num_classes < 0:
        WAITS.note("_local_scalar_dense")
    own: Tensor = on_device(func(as_seen(tensor), num_classes))
    return own


def _repr(func: Callable[..., Any], tensor: Tensor, **kwargs: Any) -> str:
    if isinstance(tensor, DeviceTensor):
        WAITS.note("copy to the host")
    return str(func(as_seen(tensor), **kwargs))


def _set_data(func: Callable[..., Any], tensor: Tensor, value: Tensor) -> None:
    """Let a tensor stay the same object when its values move to another device, as a module's parameters do."""
    if isinstance(tensor, DeviceTensor) == isinstance(value, DeviceTensor):
        func(tensor, value)
        return
    moved = value.detach().requires_grad_(tensor.requires_grad)
    if isinstance(tensor, Parameter):
        moved._is_param = True  # type: ignore[attr-defined]
    torch.utils.swap_tensors(tensor, moved)


SPECIAL: dict[Any, Callable[..., Any]] = {
    Tensor.to: _to,
    Tensor.cuda: _cuda,
    Tensor.cpu: _cpu,
    Tensor.tolist: _tolist,
    Tensor.numpy: _numpy,
    Tensor.__array__: _numpy,
    Tensor.__repr__: _repr,
    torch.as_tensor: _as_tensor,
    Tensor.new_tensor: _new_tensor,
    one_hot: _one_hot,
    Tensor.data.__set__: _set_data,  # type: ignore[attr-defined]
}
