"""Reads a pickle of lists, numbers, bytes and arrays of bytes, and builds nothing else."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class _Array:
    """Stands where numpy's array would be built, and keeps what it would be built from."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def array(self) -> NDArray[np.uint8]:
        _version, shape, kind, fortran, data = self.state
        if not isinstance(kind, _Kind) or kind.name not in (b"u1", "u1") or fortran or not isinstance(data, bytes):
            raise ValueError("it holds an array that is not of plain bytes")
        return np.frombuffer(data, dtype=np.uint8).reshape(shape)


class _Kind:
    """Stands where numpy's dtype would be built."""

    def __init__(self, name: Any, *_: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        """The byte order, which one byte has none of."""


def _reconstruct(*_: Any) -> _Array:
    return _Array()


_STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Kind,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None


def read_pickle(path: Path) -> Any:
    """The content of a pickle that Python 2 wrote: text is bytes, arrays are uint8.

    A pickle is a program that can call anything; this one can call nothing but the four stand-ins above.

    Raises:
        ValueError: one line, when it cannot be read, is cut short, or asks for anything else.
    """
    try:
        content = _Unpickler(io.BytesIO(path.read_bytes()), encoding="bytes").load()
        return _with_arrays(content)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); unpack it again") from None
    except Exception as error:  # damaged bytes can make the unpickler raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} is no pickle of plain data ({reason}); take it from the archive again") from None


def _with_arrays(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: value.array() if isinstance(value, _Array) else value for key, value in content.items()}
    return content
