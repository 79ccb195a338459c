"""Files of weights: their digest, what may be read from them, and whether it fits a model."""

from __future__ import annotations

import hashlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from apm_tta.errors import UserError

_TORCHSCRIPT = "constants.pkl"
_SUFFIX = ".safetensors"
# Where training scripts put the weights among other things; averaged ones first, as timm has it.
_WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")
# What wrappers of modules put before every name: compilation, data parallelism, and the one in the other.
_PREFIXES = ("_orig_mod.", "module.", "_orig_mod.")
_NAMED = 3


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights as it was when its digest was taken.

    Attributes:
        path: of the file.
        sha256: of its content, as ``sha256sum`` prints it.
        stamp: what changes when somebody writes to the file.
    """

    path: Path
    sha256: str
    stamp: tuple[int, ...]


def weights_file(path: Path) -> WeightsFile:
    """Take the digest of a file.

    Raises:
        UserError: when it cannot be read.
    """
    try:
        stamp = _stamp(path)
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    return WeightsFile(path, digest.hexdigest(), stamp)


def read_state_dict(weights: WeightsFile) -> dict[str, Tensor]:
    """Read tensors by name, on the CPU: from safetensors, or by ``torch.load(weights_only=True)``; from nothing else.

    Names lose the prefixes of compiled and data-parallel modules.

    Raises:
        UserError: for a file that holds a program, that holds anything but tensors, that is damaged, or that was
            written to after its digest was taken.
    """
    content = _read_safetensors(weights.path) if weights.path.suffix == _SUFFIX else _read_torch(weights.path)
    if _stamp(weights.path) != weights.stamp:
        raise UserError(f"{weights.path} was written to while it was read; start again")
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    if not isinstance(content, Mapping) or not content:
        raise UserError(f"{weights.path} holds no tensors by name, but a {type(content).__name__}")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise UserError(f"{weights.path} holds no tensors by name: {name!r} is a {type(value).__name__}")
    return {_without_prefixes(name): value for name, value in content.items()}


def load_strictly(model: nn.Module, state: Mapping[str, Tensor], path: Path, optional: Collection[str] = ()) -> None:
    """Load every tensor of the model from ``state``, in its own shape; nothing is resized, nothing is left over.

    Args:
        model: takes the tensors.
        state: by the model's names.
        path: where they come from, for messages.
        optional: names of tensors that the model may keep as they are.

    Raises:
        UserError: naming a few tensors that are missing, have no place or have another shape.
    """
    own = model.state_dict()
    faults = [
        ("are missing", [name for name in own if name not in state and name not in optional]),
        ("have no place", [name for name in state if name not in own]),
        (
            "have another shape",
            [
                f"{name} {tuple(value.shape)} for {tuple(own[name].shape)}"
                for name, value in state.items()
                if name in own and value.shape != own[name].shape
            ],
        ),
    ]
    if found := [f"{len(names)} tensors {fault} ({_some(names)})" for fault, names in faults if names]:
        raise UserError(f"{path} is no checkpoint of this architecture: {'; '.join(found)}")
    model.load_state_dict(state, strict=False)


@contextmanager
def one_line_errors(name: str) -> Iterator[None]:
    """Turn what the libraries raise while a teacher is found or built into one line.

    Raises:
        UserError: when the block raises.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # open_clip, timm, hub clients and torch raise many kinds; the reader needs one line
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"teacher {name!r} cannot be loaded: {type(error).__name__}: {reason}") from error


def _read_safetensors(path: Path) -> Any:
    try:
        return safetensors.torch.load_file(path)
    except Exception as error:
        raise UserError(f"{path} is no safetensors file: {_line(error)}") from None


def _read_torch(path: Path) -> Any:
    _refuse_program(path)
    try:
        with warnings.catch_warnings():
            # Of pickle protocols; what cannot be read is refused below.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise UserError(
            f"{path} holds more than weights{f' ({found[1]})' if found else ''}: loading it could run code, so nothing "
            "of it was run; give weights as .safetensors, or a checkpoint that torch.load(weights_only=True) takes"
        ) from None
    except Exception as error:
        raise UserError(f"{path} is neither safetensors (by its name) nor torch's checkpoint: {_line(error)}") from None


def _refuse_program(path: Path) -> None:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(Path(name).name == _TORCHSCRIPT for name in archive.namelist()):
                raise UserError(f"{path} is a TorchScript archive, which holds code; give its weights as .safetensors")


def _stamp(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _without_prefixes(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _some(names: Collection[str]) -> str:
    return ", ".join(list(names)[:_NAMED]) + (", ..." if len(names) > _NAMED else "")


def _line(error: Exception) -> str:
    return f"{type(error).__name__} {' '.join(str(error).split())[:200]}".strip()
