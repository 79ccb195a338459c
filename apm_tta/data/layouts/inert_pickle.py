"""Read a pickle of lists, numbers, bytes and arrays of bytes without building any other object."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from apm_tta.data.layouts.images import read_stored


class _Array:
    """A stand-in for a numpy array that keeps what the array would be built from."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def to_numpy(self) -> NDArray[np.uint8]:
        """Build the array.

        Raises:
            ValueError: when its values are not plain bytes in C order.
        """
        _version, shape, dtype, fortran, data = self.state
        if not isinstance(dtype, _Dtype) or dtype.name not in (b"u1", "u1") or fortran or not isinstance(data, bytes):
            raise ValueError("it contains an array that is not of plain bytes")
        return np.frombuffer(data, dtype=np.uint8).reshape(shape)


class _Dtype:
    """A stand-in for a numpy dtype that keeps its name."""

    def __init__(self, name: Any, *_: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        """Ignore the byte order: a single byte has none."""


def _reconstruct(*_: Any) -> _Array:
    return _Array()


_STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it requests {module}.{name}") from None


def read_pickle(path: Path) -> Any:
    """Read a pickle written by Python 2: text becomes bytes, arrays become uint8.

    A pickle is a program that can call anything; this one can call nothing but the four stand-ins above.

    Raises:
        ValueError: with one line, when the file is truncated or requests anything else.
        UnreadImage: when it cannot be read.
    """
    stored = read_stored(path).content
    try:
        content = _Unpickler(io.BytesIO(stored), encoding="bytes").load()
        return _with_arrays(content)
    except Exception as error:  # damaged bytes can make the unpickler raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"{path} is not a pickle of plain data ({reason}); extract it from the archive again"
        ) from None


def _with_arrays(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: value.to_numpy() if isinstance(value, _Array) else value for key, value in content.items()}
    return content
