"""A checksum of a tensor's bytes at the speed of memory: cheap enough to be taken around every prediction.

Version counters would be cheaper still, but ``tensor.data``, ``tensor.numpy()`` and ``set_`` pass them by.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_COLUMNS = 1024
_ROWS_AT_ONCE = 128
"""Rows of 8 KiB: what is added along and across should stay in the processor's cache meanwhile."""


def checksum(tensor: Tensor) -> bytes:
    """Digest what a tensor shows, and every byte of the memory that it shows; waits for the tensor's device.

    The bytes are laid out as a table of 64-bit integers, whose rows and columns are added: any changed value changes
    two of the sums, and so does a move of values to another place, such as a flip. It protects against accidents, not
    against somebody who looks for a collision.
    """
    digest = hashlib.blake2b(repr(form(tensor)).encode(), digest_size=16)
    for part in _sums(tensor):
        digest.update(part if isinstance(part, bytes) else part.cpu().numpy().tobytes())
    return digest.digest()


class Checksum:
    """The sums behind ``checksum``, where the tensor is: a GPU is not waited for."""

    def __init__(self, tensor: Tensor) -> None:
        self._sums = _sums(tensor)

    def differs_from(self, other: Checksum) -> Tensor:
        """Return whether these are the sums of another content: one boolean, on the tensor's device."""
        if len(self._sums) != len(other._sums):
            return torch.tensor(True)
        pairs = list(zip(self._sums, other._sums, strict=True))
        if any(part != part_of_other for part, part_of_other in pairs if isinstance(part, bytes)):
            return torch.tensor(True)
        differing = [
            (part != part_of_other).any()
            for part, part_of_other in pairs
            if isinstance(part, Tensor) and isinstance(part_of_other, Tensor)
        ]
        return torch.stack(differing).any() if differing else torch.tensor(False)


def form(tensor: Tensor) -> tuple[Any, ...]:
    """Return how a tensor shows its memory: its shape, place and type, and whether it takes gradients."""
    place = (tensor.storage_offset(), tensor.stride()) if tensor.layout == torch.strided else ()
    return tuple(tensor.shape), place, tensor.dtype, tensor.device, tensor.requires_grad


def _sums(tensor: Tensor) -> list[bytes | Tensor]:
    """Return the sums of the rows and columns of a tensor's bytes, and the bytes that are left over."""
    if tensor.layout != torch.strided:
        return []
    content = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(tensor.untyped_storage())
    whole = content.nbytes // (8 * _COLUMNS) * 8 * _COLUMNS
    if content.device.type == "cpu":
        plain = content.numpy()
        added = _added(plain[:whole].view(np.int64).reshape(-1, _COLUMNS)) if whole else ()
        return [*added, plain[whole:].tobytes()]
    sums = [content[:whole].view(torch.int64).reshape(-1, _COLUMNS).sum(axis) for axis in (0, 1)] if whole else []
    return [*sums, content[whole:].clone()]


def _added(table: NDArray[Any]) -> Iterator[bytes]:
    """Add rows and columns in NumPy, part by part: a second thread would only wait for memory."""
    columns = np.zeros(_COLUMNS, np.int64)
    for start in range(0, len(table), _ROWS_AT_ONCE):
        part = table[start : start + _ROWS_AT_ONCE]
        columns += part.sum(0)
        yield part.sum(1).tobytes()
    yield columns.tobytes()
