"""What torch's functions do where a device is named, or where a tensor of the device is among their arguments."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.nn.functional import layer_norm
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from pretended_cuda.moves import SPECIAL
from pretended_cuda.pinned import PINNED
from pretended_cuda.sites import SITES
from pretended_cuda.tensor import CUDA, DeviceTensor, as_seen, on_device, own_generator, tensors_in
from pretended_cuda.waits import WAITS

_FROM_VALUES = (torch.tensor, torch.asarray)
_LOOKS = {
    *(
        Tensor.data_ptr,
        Tensor.is_inference,
        Tensor.stride,
        Tensor.storage_offset,
        Tensor.size,
        Tensor.dim,
        Tensor.numel,
    ),
    *(Tensor.is_floating_point, Tensor.is_contiguous, Tensor.__len__, Tensor.__hash__, Tensor.requires_grad_),
    *(Tensor.untyped_storage, torch._C._set_grad_enabled),
}
"""What computes nothing."""
_BY_ITSELF = {
    *(Tensor.add, Tensor.add_, Tensor.sub, Tensor.mul, Tensor.mul_, Tensor.div, Tensor.sum, Tensor.gt, Tensor.eq),
    *(Tensor.clone, Tensor.detach, Tensor.set_, Tensor.copy_, Tensor.__and__, Tensor.__eq__, layer_norm),
    *(Tensor.view, Tensor.reshape, Tensor.flatten, Tensor.expand, Tensor.permute, Tensor.transpose, Tensor.t),
    *(Tensor.squeeze, Tensor.unsqueeze),
}
"""Frequent operations within which torch makes no tensor: to watch for one is most of what they cost."""
_RANDOM = (torch.rand, torch.randn, torch.randint, torch.randperm, torch.normal, torch.rand_like, torch.randn_like)


@contextmanager
def calls_seen() -> Iterator[None]:
    """See every call of torch in the block, in threads that start in it too."""
    run = threading.Thread.run

    def seen(thread: threading.Thread) -> None:
        with _Calls():
            run(thread)

    with mock.patch.object(threading.Thread, "run", seen), _Calls():
        yield


class _Calls(TorchFunctionMode):
    """Every call of torch from Python."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Carry out one call."""
        kwargs = kwargs or {}
        if (special := SPECIAL.get(func)) is not None:
            return special(func, *args, **kwargs)
        if func in _LOOKS or getattr(func, "__name__", "") == "__get__":
            return func(*args, **kwargs)
        if kwargs.get("pin_memory"):
            return PINNED.add(func(*args, **{**kwargs, "pin_memory": False}))
        here = any(isinstance(each, DeviceTensor) for each in tensors_in(args, kwargs))
        named = kwargs.get("device")
        if named is not None:
            return _made(func, args, dict(kwargs), as_device(named), here)
        if not here:
            return func(*args, **kwargs)
        if not torch.is_autocast_enabled("cuda") and not torch.is_autocast_enabled("cpu"):
            if func in _BY_ITSELF or (func is Tensor.__getitem__ and _is_plain(args[1])):
                return func(*args, **kwargs)
            with _Inside():
                return func(*args, **kwargs)
        own, of_cpu = _autocast("cuda"), _autocast("cpu")
        _set_autocast(own)
        try:
            with _Inside():
                return func(*args, **kwargs)
        finally:
            _set_autocast(of_cpu)


class _Inside(TorchDispatchMode):
    """What torch makes by itself within a call on tensors of the device lies there too."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # what it would cost is most of what an operation costs

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Carry out one operation."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if isinstance(result, DeviceTensor) or not isinstance(result, Tensor) or tensors_in(args, kwargs):
            return result
        return on_device(result)


def _is_plain(index: Any) -> bool:
    """Return whether an index consists of numbers and ranges, of which torch makes no tensor."""
    return all(each is None or type(each) in (int, slice) for each in (index if type(index) is tuple else (index,)))


def as_device(named: Any) -> torch.device:
    """Return the device of that name or index.

    Raises:
        RuntimeError: for a CUDA device other than the one that there is.
    """
    device = torch.device("cuda", named) if isinstance(named, int) else torch.device(named)
    if device.type == "cuda" and device.index not in (None, 0):
        raise RuntimeError("CUDA error: invalid device ordinal")
    return CUDA if device.type == "cuda" else device


def _made(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], device: torch.device, here: bool
) -> Any:
    """Make a tensor on a device that the caller named."""
    if device.type != "cuda" or not SITES.carried_out():
        kwargs["device"] = torch.device("cpu")
        return func(*as_seen(args), **kwargs) if here else func(*args, **kwargs)
    if func in _RANDOM:
        kwargs["generator"] = own_generator(kwargs.get("generator"))
    if func in _FROM_VALUES and not here:
        WAITS.note("copy to the device")
    trainable = kwargs.pop("requires_grad", False)
    kwargs["device"] = torch.device("cpu")
    made: Tensor = on_device(func(*as_seen(args), **kwargs))
    return made.requires_grad_() if trainable else made


def _autocast(kind: str) -> tuple[bool, torch.dtype]:
    return torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)


def _set_autocast(values: tuple[bool, torch.dtype]) -> None:
    """Compute on the CPU as autocast says for CUDA, by the CPU's lists of operations; or again as before."""
    if _autocast("cpu") != values:
        torch.set_autocast_enabled("cpu", values[0])
        torch.set_autocast_dtype("cpu", values[1])
