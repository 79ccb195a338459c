"""Memories as safetensors files beside the field's checkpoint, one for each kind, tied to the checkpoint's digest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from apm_tta.dream.basis import Basis
from apm_tta.dream.denoiser import Denoiser
from apm_tta.dream.memory import Kind, Memory
from apm_tta.dream.mixture import Mixture
from apm_tta.errors import UserError
from apm_tta.field.checkpoint import Field
from apm_tta.system.files import require_regular, write_file

_FORMAT, _VERSION = "apm_tta_memory", "1"
_BASIS = ("basis.mean", "basis.axes", "basis.scales")
_MIXTURE = ("weights", "means", "factors")
_NETWORK = "network."


def memory_path(checkpoint: Path, kind: Kind) -> Path:
    """Return where the memory of a checkpoint lies: ``field.density.safetensors`` beside ``field.safetensors``."""
    return checkpoint.with_name(f"{checkpoint.stem}.{kind}.safetensors")


def write_memory(path: Path, memory: Mixture | Denoiser, field: Field, data: str) -> None:
    """Write a memory, completely or not at all.

    Args:
        path: see ``memory_path``.
        memory: to be written.
        field: whose columns it remembers.
        data: name of the set that the images are from, or of their folder.

    Raises:
        UserError: when it cannot be written.
    """
    basis = memory.basis
    tensors = dict(zip(_BASIS, (basis.mean, basis.axes, basis.scales), strict=True))
    if isinstance(memory, Mixture):
        tensors |= {"weights": memory.weights, "means": memory.means, "factors": memory.factors}
    else:
        tensors |= {f"{_NETWORK}{name}": value for name, value in memory.state_dict().items()}
    metadata = {_FORMAT: _VERSION, "made_of": json.dumps({"field": field.sha256, "data": data})}
    write_file(path, safetensors.torch.save({name: value.contiguous() for name, value in tensors.items()}, metadata))


def load_memory(checkpoint: Path, kind: Kind, field: Field) -> tuple[Memory, str]:
    """Load the memory of a checkpoint; return it, and the name of the set that its images are from.

    Raises:
        UserError: when there is none, or it is damaged or of another checkpoint.
    """
    path = memory_path(checkpoint, kind)
    advice = f"run-bench remember --checkpoint {checkpoint} --memory {kind} makes it"
    try:
        require_regular(path)
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
        if metadata.get(_FORMAT) != _VERSION:
            raise ValueError(f"its format is not {_FORMAT} {_VERSION}")
        made_of = json.loads(metadata["made_of"])
        memory = _memory(kind, tensors)
        if made_of["field"] == field.sha256 and len(memory.basis.mean) != field.apm.config.column_dim:
            raise ValueError("its columns have another width than the field's")
    except FileNotFoundError:
        raise UserError(f"{checkpoint} has no {kind}, which would be {path.name} beside it; {advice}") from None
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{path} is damaged ({reason}); {advice} anew") from None
    if made_of["field"] != field.sha256:
        raise UserError(f"{path} is not of {checkpoint} as it is now, which was trained since; {advice} anew")
    return memory, str(made_of["data"])


def _memory(kind: Kind, tensors: dict[str, Tensor]) -> Memory:
    """Return the memory that tensors hold.

    Raises:
        KeyError, RuntimeError, ValueError: when they hold none.
    """
    for name, value in tensors.items():
        if value.dtype != torch.float32 or not bool(value.isfinite().all()):
            raise ValueError(f"{name} is not of finite float32")
    mean, axes, scales = (tensors.pop(name) for name in _BASIS)
    width = len(scales)
    _require(axes.shape == (width, len(mean)) and bool((scales > 0).all()), "its basis does not fit together")
    basis = Basis(mean, axes, scales)
    if kind == "density":
        weights, means, factors = (tensors.pop(name) for name in _MIXTURE)
        count = len(weights)
        fits = means.shape == (count, width) and factors.shape == (count, width, width)
        _require(fits and bool((factors.diagonal(dim1=1, dim2=2) > 0).all()), "its Gaussians do not fit together")
        return Mixture(basis, weights, means, factors)
    network = Denoiser(basis)
    network.load_state_dict({name.removeprefix(_NETWORK): value for name, value in tensors.items()})
    return network.requires_grad_(False)


def _require(condition: Any, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)
