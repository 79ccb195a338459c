"""How a run computes the products of float32 matrices, and where it never computes them otherwise than in float32.

``float32``; ``tf32``, on a GPU, which rounds the factors to 10 bits; ``bfloat16``, by autocast, which rounds them to 7.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import reduce
from typing import Any

import torch

from apm_tta.errors import UserError

_SWITCHES = ("cuda.matmul", "cudnn.conv", "cudnn.rnn")
_NEW, _OLD = "fp32_precision", "allow_tf32"


def refuse_without_gpu(precision: str, device: torch.device) -> None:
    """Refuse a precision that the device does not have.

    Raises:
        UserError: for ``tf32`` elsewhere than on a GPU. Exit code 2.
    """
    if precision == "tf32" and device.type != "cuda":
        raise UserError(
            f"precision tf32 exists on NVIDIA GPUs only, and this would compute on {device}; choose float32",
            exit_code=2,
        )


@contextmanager
def float32_products(precision: str, device: torch.device) -> Iterator[None]:
    """Compute products of float32 matrices in the block as ``precision`` says, whatever was set before.

    Torch's own default for convolutions on a GPU is TF32.

    Raises:
        UserError: see ``refuse_without_gpu``.
    """
    refuse_without_gpu(precision, device)
    with _tf32(precision == "tf32") if device.type == "cuda" else nullcontext():
        yield


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Return the block in which products are computed in bfloat16, where ``precision`` says so."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()


@contextmanager
def full_precision(device_type: str) -> Iterator[None]:
    """Compute products in the block in float32, whatever the run's precision is."""
    with torch.autocast(device_type, enabled=False), _tf32(False) if device_type == "cuda" else nullcontext():
        yield


@contextmanager
def _tf32(wanted: bool) -> Iterator[None]:
    before = [(switch, switch.read()) for switch in _switches()]
    changed = [(switch, value) for switch, value in before if switch.read() != switch.value(wanted)]
    for switch, _ in changed:
        switch.write(switch.value(wanted))
    try:
        yield
    finally:
        for switch, value in changed:
            switch.write(value)


class _Switch:
    """A setting of torch's, under the name that it has in this version."""

    def __init__(self, path: str) -> None:
        find: Callable[[str], Any] = lambda names: reduce(getattr, names.split("."), torch.backends)  # noqa: E731
        try:
            self._owner, self._name = find(path), _NEW
            getattr(self._owner, self._name)
        except AttributeError:  # torch before 2.9
            self._owner, self._name = find("cuda.matmul" if path == "cuda.matmul" else "cudnn"), _OLD

    def read(self) -> Any:
        return getattr(self._owner, self._name)

    def write(self, value: Any) -> None:
        setattr(self._owner, self._name, value)

    def value(self, wanted: bool) -> Any:
        if self._name == _OLD:
            return wanted
        return "tf32" if wanted else "ieee"


def _switches() -> list[_Switch]:
    return [_Switch(path) for path in _SWITCHES]
