"""Weights files: their digest, safe reading, and strict loading into a model."""

from __future__ import annotations

import hashlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from apm_tta.errors import UserError, describe_error
from apm_tta.teachers.training_state import inert_training_state
from apm_tta.teachers.weight_names import first_few, without_wrappers
from apm_tta.teachers.weight_sets import find_weights
from apm_tta.teachers.weight_values import refuse_unusable_values
from apm_tta.wording import pluralise

_TORCHSCRIPT = "constants.pkl"
_SUFFIX = ".safetensors"
_ZIP = b"PK\x03\x04"


@dataclass(frozen=True)
class WeightsFile:
    """A weights file as it was when its digest was computed.

    Attributes:
        path: of the file.
        sha256: of its content, as ``sha256sum`` prints it.
        stamp: file metadata that changes when the file is written to.
    """

    path: Path
    sha256: str
    stamp: tuple[int, ...]


def weights_file(path: Path) -> WeightsFile:
    """Compute the digest of a file.

    Raises:
        UserError: when it cannot be read.
    """
    try:
        stamp = _stamp(path)
        if path.exists() and not path.is_file() and not path.is_dir():  # a pipe, which may never end
            raise UserError(f"{path} cannot be read: it is not a file")
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    return WeightsFile(path, digest.hexdigest(), stamp)


def read_state_dict(weights: WeightsFile, member: str = "", training: bool = False) -> dict[str, Tensor]:
    """Read tensors by name, on the CPU: only from safetensors, or with ``torch.load(weights_only=True)``.

    The prefixes of compiled and data-parallel modules are removed from names. Tensors may be parts of the file that are
    read only when they are used: call ``refuse_changed`` once they have been copied.

    Args:
        weights: the file.
        member: name of the set of weights to take where the file has it beside others, such as ``last``.
        training: whether optimisers and schedulers may stand beside the weights; see ``inert_training_state``.

    Raises:
        UserError: for a file that contains a program or anything other than tensors, that contains several sets of
            weights, that is damaged, or that was written to after its digest was computed.
    """
    with inert_training_state(weights.path) if training else nullcontext():
        content = _read_safetensors(weights.path) if weights.path.suffix == _SUFFIX else _read_torch(weights.path)
    if _stamp(weights.path) != weights.stamp:
        raise _written_to(weights.path)
    if member and isinstance(content, Mapping) and member in content:
        content = content[member]
    return without_wrappers(find_weights(content, weights.path), weights.path)


def refuse_changed(weights: WeightsFile) -> None:
    """Refuse a file whose content is no longer what its digest was computed of, whatever its size and times.

    Raises:
        UserError: when it has changed, or cannot be read any more.
    """
    if weights_file(weights.path).sha256 != weights.sha256:
        raise _written_to(weights.path)


def load_strictly(model: nn.Module, state: Mapping[str, Tensor], path: Path, optional: Collection[str] = ()) -> None:
    """Load every tensor of the model from ``state`` in its own shape; nothing is resized, and nothing may remain.

    Args:
        model: receives the tensors.
        state: tensors by the model's names.
        path: file that they come from, for messages.
        optional: names of tensors that may be missing; the model keeps its own.

    Raises:
        UserError: naming a few tensors that are missing, have no place in the model, have another shape, or are no
            weights.
    """
    own = model.state_dict()
    faults = [
        (("is missing", "are missing"), [name for name in own if name not in state and name not in optional]),
        (("has no place", "have no place"), [name for name in state if name not in own]),
        (
            ("has another shape", "have another shape"),
            [
                f"{name} {tuple(value.shape)} for {tuple(own[name].shape)}"
                for name, value in state.items()
                if name in own and value.shape != own[name].shape
            ],
        ),
    ]
    if found := [_said(len(names), said, first_few(names)) for said, names in faults if names]:
        raise UserError(f"{path} is not a checkpoint of this architecture: {'; '.join(found)}")
    refuse_unusable_values(model, state, path)
    model.load_state_dict(state, strict=False)


def _said(count: int, said: tuple[str, str], some: str) -> str:
    one, several = (f"{noun} {fault}" for noun, fault in zip(("tensor", "tensors"), said, strict=True))
    return f"{pluralise(count, one, several)} ({some})"


@contextmanager
def one_line_errors(name: str) -> Iterator[None]:
    """Turn any exception that libraries raise while finding or building a teacher into a one-line error.

    Raises:
        UserError: when the block raises.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # open_clip, timm, hub clients and torch raise many kinds; the reader needs one line
        unreached = isinstance(error, OSError)  # as all are that a download raises
        advice = "without a network name a file (NAME:/path), or --teacher embedded, which the package carries"
        raise UserError(
            f"teacher {name!r} cannot be loaded: {describe_error(error)}", advice=advice if unreached else ""
        ) from error


def _read_safetensors(path: Path) -> Any:
    try:
        return safetensors.torch.load_file(path)
    except Exception as error:
        raise UserError(f"{path} is no safetensors file: {_beginning(path)} ({_one_line(error)})") from None


def _read_torch(path: Path) -> Any:
    _refuse_program(path)
    try:
        with warnings.catch_warnings():
            # Warnings about pickle protocols; unreadable files are refused below.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise UserError(
            f"{path} contains more than weights{f' ({found[1]})' if found else ''}: loading it could run code, so none "
            "of it was run; give weights as .safetensors, or a checkpoint that torch.load(weights_only=True) accepts"
        ) from None
    except Exception:  # whatever torch meets in the middle of bytes that are none, such as KeyError(101) for a text
        raise UserError(
            f"{path} is neither safetensors (judged by its name) nor a torch checkpoint: {_beginning(path)}"
        ) from None


def _refuse_program(path: Path) -> None:
    """Refuse a TorchScript archive.

    Raises:
        UserError: when the file is one.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(Path(name).name == _TORCHSCRIPT for name in archive.namelist()):
                raise UserError(
                    f"{path} is a TorchScript archive, which contains code; give its weights as .safetensors"
                )


def _stamp(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _written_to(path: Path) -> UserError:
    return UserError(f"{path} was written to while it was being read; start again")


def _beginning(path: Path) -> str:
    """Say what a file that is no checkpoint looks like."""
    with path.open("rb") as file:
        first = file.read(16)
    if not first:
        return "it is empty"
    if first.startswith(_ZIP):
        return "it begins as torch's archives do, and was cut off or is damaged"
    return f"it begins with {first.decode('ascii', 'backslashreplace')!r}"


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__} {' '.join(str(error).split())[:200]}".strip()
