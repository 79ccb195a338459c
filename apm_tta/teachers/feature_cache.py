"""A teacher's features of many images as one memory-mapped entry on disk, either complete or absent."""

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

from apm_tta.errors import UserError
from apm_tta.system.files import read_regular
from apm_tta.teachers.disk_cache import entry_key, entry_path, write_entry


class FeatureCache:
    """The features of a fixed list of images.

    The complete key and the array's SHA-256 are stored beside the array: another key never matches, and a damaged array
    counts as absent and is rewritten.

    Args:
        folder: of the cache; if it is not writable, nothing is cached and no error is raised.
        parts: everything that the features depend on.
        ids: of all images, in the order of the rows.
    """

    def __init__(self, folder: Path, parts: Mapping[str, Any], ids: Sequence[str]) -> None:
        listed = hashlib.sha256(json.dumps(list(ids)).encode()).hexdigest()
        self._key = entry_key({**parts, "ids": listed})
        self._array_path = entry_path(folder, self._key, ".npy")
        self._metadata_path = entry_path(folder, self._key, ".json")
        self._rows = {sample_id: row for row, sample_id in enumerate(ids)}
        self._row_digests: list[str] = []  # of the array that was checked
        self._collected: dict[str, NDArray[np.float32]] = {}

    @property
    def complete(self) -> bool:
        """Whether the features of every image can be read."""
        return self._array is not None

    def read(self, ids: Sequence[str]) -> Tensor:
        """Return features ``(B, F)`` of some of the images, in the order of ``ids``; float32 on the CPU.

        Raises:
            ValueError: when the cache is not complete.
            UserError: when the array on disk has changed since it was checked.
        """
        if self._array is None:
            raise ValueError("no features can be read: the cache is not complete")
        rows = [self._rows[sample_id] for sample_id in ids]
        found = self._array[rows]  # a copy, which no later change of the file reaches
        if [_digest(row) for row in found] != [self._row_digests[row] for row in rows]:
            raise UserError(f"{self._array_path} was written to while it was in use; start again")
        return torch.from_numpy(found)

    def write(self, ids: Sequence[str], features: Tensor) -> None:
        """Collect features ``(B, F)`` in memory; they become readable with ``finish``."""
        rows = features.detach().float().cpu().numpy()
        self._collected.update(zip(ids, rows, strict=True))

    def finish(self) -> None:
        """Write the array if the features of every image were collected; otherwise do nothing."""
        if self._collected.keys() != self._rows.keys() or not self._rows:
            return
        array = np.stack([self._collected[sample_id] for sample_id in self._rows])
        metadata = {"key": self._key, "shape": list(array.shape), "sha256": _digest(array)}
        if write_entry(self._array_path, _npy(array)):
            write_entry(self._metadata_path, json.dumps(metadata).encode())
        vars(self).pop("_array", None)

    @cached_property
    def _array(self) -> NDArray[np.float32] | None:
        try:
            metadata = json.loads(read_regular(self._metadata_path))
            whole = np.load(io.BytesIO(read_regular(self._array_path)), allow_pickle=False)
            expected = {"key": self._key, "shape": list(whole.shape), "sha256": _digest(whole)}
            array: NDArray[np.float32] = np.load(self._array_path, mmap_mode="r", allow_pickle=False)
            if whole.dtype != np.float32 or metadata != expected or array.shape != whole.shape:
                return None
        except Exception:  # a damaged header can make numpy raise anything
            return None
        self._row_digests = [_digest(row) for row in whole]
        return array


def _npy(array: NDArray[np.float32]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _digest(array: NDArray[np.float32]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()
