"""A tensor on the CPU that says that it lies on ``cuda:0``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor

from pretended_cuda.pinned import PINNED
from pretended_cuda.waits import BY_INDEX, WAITS

CUDA = torch.device("cuda:0")

_ANYWHERE = {"aten::copy_", "aten::set_.source_Storage", "aten::set_.source_Storage_storage_offset"}
# A number of the CPU takes part in what is computed element by element, and in nothing else.
_NO_NUMBERS = {
    *("aten::cat", "aten::stack", "aten::mm", "aten::addmm", "aten::bmm", "aten::index_select"),
    *("aten::_fused_adam_", "aten::_fused_adamw_", "aten::_fused_sgd_"),
}


class Elsewhere(RuntimeError):
    """Tensors of two devices met, in torch's words."""


class DeviceTensor(Tensor):
    """A tensor in the CPU's memory that meets only its like; numbers of the CPU may take part, as in torch."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # every call is seen already: see ``calls_seen``

    device = CUDA  # type: ignore[assignment]
    is_cuda = True  # type: ignore[assignment]
    is_cpu = False  # type: ignore[assignment]

    def get_device(self) -> int:
        """Return the device's index."""
        return 0

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Carry out one operation of torch in the CPU's memory, after a look at where its tensors lie."""
        kwargs = dict(kwargs or {})
        name, given = func.name(), tensors_in(args, kwargs)
        _refuse_strangers(name, given)
        WAITS.note_reading(name, given)
        if name == "aten::copy_":
            return _copied(args, kwargs)
        if _draws(func):
            kwargs["generator"] = own_generator(kwargs.get("generator"))
        with torch._C._DisableTorchDispatch():
            result = func(*args, **kwargs)
        return on_device(result)


def on_device(result: Any) -> Any:
    """Return tensors, and lists and tuples of them, as ones that lie on the device, in the same memory."""
    return _mapped(_put, result)


def as_seen(result: Any) -> Any:
    """Return tensors, and lists and tuples of them, as ones of the CPU in the same memory, which nobody notices."""
    return _mapped(_look, result)


def _mapped(function: Callable[[Tensor], Tensor], values: Any) -> Any:
    if isinstance(values, Tensor):
        return function(values)
    if type(values) in (list, tuple):
        return type(values)(_mapped(function, value) for value in values)
    return values


def tensors_in(args: Iterable[Any], kwargs: Mapping[str, Any]) -> list[Tensor]:
    """Find the tensors among arguments."""
    found: list[Tensor] = []
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += tensors_in(value, {})
    return found


@cache
def _draws(func: Any) -> bool:
    return any(argument.name == "generator" for argument in func._schema.arguments)


def own_generator(given: torch.Generator | None) -> torch.Generator:
    """Return the device's own random generator: its numbers are not those of the CPU.

    Raises:
        RuntimeError: for a generator of the CPU, as torch does.
    """
    own: torch.Generator = torch.cuda.default_generators[0]
    if given is not None and given is not own:
        raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
    return own


def _refuse_strangers(name: str, given: list[Tensor]) -> None:
    """Refuse an operation on tensors of two devices.

    Raises:
        Elsewhere: as torch does.
    """
    if name in _ANYWHERE or not any(isinstance(each, DeviceTensor) for each in given):
        return
    strangers = [each for each in given if not isinstance(each, DeviceTensor) and (each.ndim or name in _NO_NUMBERS)]
    if name in BY_INDEX and isinstance(given[0], DeviceTensor):
        # Torch itself copies indices to the device, and waits for that.
        indices = [each for each in strangers if each is not given[-1] or name == "aten::index.Tensor"]
        strangers = [each for each in strangers if not any(each is index for index in indices)]
        for _ in indices:
            WAITS.note("copy to the device")
    if strangers:
        raise Elsewhere(
            "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! "
            f"({name} with a tensor of the CPU of shape {tuple(strangers[0].shape)})"
        )


def _copied(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    target, source = args[:2]
    later = bool(args[2] if len(args) > 2 else kwargs.get("non_blocking"))
    if not isinstance(target, DeviceTensor) and isinstance(source, DeviceTensor):
        if later and PINNED.has(target):
            WAITS.copy_later(target, _look(source))
            return target
        WAITS.note("copy to the host")
    elif isinstance(target, DeviceTensor) and not isinstance(source, DeviceTensor) and source.ndim and not later:
        WAITS.note("copy to the device")
    with torch._C._DisableTorchDispatch():
        target.copy_(source)
    return target


def _put(tensor: Tensor) -> Tensor:
    if isinstance(tensor, DeviceTensor):
        return tensor
    return Tensor._make_subclass(DeviceTensor, tensor.detach())


def _look(tensor: Tensor) -> Tensor:
    if not isinstance(tensor, DeviceTensor):
        return tensor
    with torch._C._DisableTorchDispatch(), torch.no_grad():
        return Tensor._make_subclass(Tensor, tensor.detach())
