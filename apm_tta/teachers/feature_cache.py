"""A teacher's features of many images on disk, memory-mapped; there whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from apm_tta.teachers.disk_cache import entry_path, keep, key_text


class FeatureCache:
    """Features of a fixed list of images.

    Beside the array lies the whole key and the array's SHA-256: another key never matches, a damaged array counts as
    absent and is written again.

    Args:
        folder: of the cache; one that cannot be written keeps nothing and stops nobody.
        parts: everything that the features depend on.
        ids: of all the images, in the order of the rows.
    """

    def __init__(self, folder: Path, parts: Mapping[str, Any], ids: Sequence[str]) -> None:
        listed = hashlib.sha256(json.dumps(list(ids)).encode()).hexdigest()
        self._key = key_text({**parts, "ids": listed})
        self._array_path = entry_path(folder, self._key, ".npy")
        self._note_path = entry_path(folder, self._key, ".json")
        self._rows = {sample_id: row for row, sample_id in enumerate(ids)}
        self._written: dict[str, NDArray[np.float32]] = {}

    @property
    def complete(self) -> bool:
        """Whether the features of every image can be read."""
        return self._array is not None

    def read(self, ids: Sequence[str]) -> Tensor:
        """Features ``(B, F)`` of some of the images, in the order of ``ids``; float32 on the CPU.

        Raises:
            ValueError: when the cache is not complete.
        """
        if self._array is None:
            raise ValueError("there are no features to read: the cache is not complete")
        return torch.from_numpy(self._array[[self._rows[sample_id] for sample_id in ids]])

    def write(self, ids: Sequence[str], features: Tensor) -> None:
        """Takes in features ``(B, F)``; they can be read after ``finish``."""
        rows = features.detach().float().cpu().numpy()
        self._written.update(zip(ids, rows, strict=True))

    def finish(self) -> None:
        """Writes the array, if the features of every image were taken in: else nothing is kept."""
        if self._written.keys() != self._rows.keys() or not self._rows:
            return
        array = np.stack([self._written[sample_id] for sample_id in self._rows])
        note = {"key": self._key, "shape": list(array.shape), "sha256": _digest(array)}
        if keep(self._array_path, _npy(array)):
            keep(self._note_path, json.dumps(note).encode())
        vars(self).pop("_array", None)

    @cached_property
    def _array(self) -> NDArray[np.float32] | None:
        try:
            note = json.loads(self._note_path.read_text(encoding="utf-8"))
            array = np.load(self._array_path, mmap_mode="r", allow_pickle=False)
            expected = {"key": self._key, "shape": list(array.shape), "sha256": _digest(array)}
            return array if array.dtype == np.float32 and note == expected else None
        except Exception:  # a damaged header can be anything: numpy raises what its parts raise
            return None


def _npy(array: NDArray[np.float32]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _digest(array: NDArray[np.float32]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
