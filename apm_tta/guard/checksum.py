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
    """Digest what a tensor shows, and every byte of the memory that it shows.

    The bytes are laid out as a table of 64-bit integers, whose rows and columns are added: any changed value changes
    two of the sums, and so does a move of values to another place, such as a flip. It protects against accidents, not
    against somebody who looks for a collision.
    """
    dense = tensor.layout == torch.strided
    place = (tensor.storage_offset(), tensor.stride()) if dense else ()
    form = (tuple(tensor.shape), place, tensor.dtype, tensor.device, tensor.requires_grad)
    digest = hashlib.blake2b(repr(form).encode(), digest_size=16)
    if dense:
        with torch.no_grad():
            content = torch.empty(0, dtype=torch.uint8, device=tensor.device)
            for part in _sums(content.set_(tensor.untyped_storage())):
                digest.update(part)
    return digest.digest()


def _sums(content: Tensor) -> Iterator[bytes]:
    """Return the sums of the rows and columns of bytes ``(N,)``, and the bytes that are left over."""
    whole = len(content) // (8 * _COLUMNS) * 8 * _COLUMNS
    if content.device.type == "cpu":
        yield from _added(content[:whole].numpy().view(np.int64).reshape(-1, _COLUMNS))
    elif whole:
        table = content[:whole].view(torch.int64).reshape(-1, _COLUMNS)
        yield from (table.sum(axis).cpu().numpy().tobytes() for axis in (0, 1))
    yield content[whole:].cpu().numpy().tobytes()


def _added(table: NDArray[Any]) -> Iterator[bytes]:
    """Add rows and columns in NumPy, part by part: a second thread would only wait for memory."""
    columns = np.zeros(_COLUMNS, np.int64)
    for start in range(0, len(table), _ROWS_AT_ONCE):
        part = table[start : start + _ROWS_AT_ONCE]
        columns += part.sum(0)
        yield part.sum(1).tobytes()
    yield columns.tobytes()
