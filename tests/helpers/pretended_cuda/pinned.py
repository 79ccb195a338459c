"""Pinned memory: ordinary memory, of which it is known that it was asked for as pinned."""

from __future__ import annotations

import torch
from torch import Tensor


class Pinned:
    """The pinned memory of this process."""

    def __init__(self) -> None:
        self._kept: dict[int, torch.UntypedStorage] = {}

    def add(self, tensor: Tensor) -> Tensor:
        """Note that the memory of ``tensor`` is pinned, and return it."""
        storage = tensor.untyped_storage()
        self._kept[storage.data_ptr()] = storage
        return tensor

    def has(self, tensor: Tensor) -> bool:
        """Return whether ``tensor`` lies in pinned memory."""
        return tensor.untyped_storage().data_ptr() in self._kept

    def clear(self) -> None:
        """Forget all of it."""
        self._kept.clear()


PINNED = Pinned()


def pin_memory(tensor: Tensor, device: object = None) -> Tensor:
    """Return a copy in pinned memory; the same where it lies there already."""
    return tensor if PINNED.has(tensor) else PINNED.add(tensor.clone())


def is_pinned(tensor: Tensor, device: object = None) -> bool:
    """Return whether a tensor lies in pinned memory."""
    return PINNED.has(tensor)
