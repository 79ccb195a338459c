"""A field's checkpoint: safetensors with its weights, optimiser and history; and the public release's format."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from apm_tta.apm import APM
from apm_tta.apm.reference import has_reference_names, reference_config
from apm_tta.configuration import one_line
from apm_tta.errors import UserError
from apm_tta.field.pixels import ImageNetPixels, Pixels, ReleasedPixels
from apm_tta.field.settings import Settings
from apm_tta.files import write_file
from apm_tta.teachers.checkpoints import load_strictly, read_state_dict, weights_file

CHECKPOINT_FILE = "field.safetensors"
_FORMAT, _VERSION = "apm_tta_field", "1"
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")

Measures = dict[str, float]


@dataclass
class TrainingState:
    """The state of a training after some of its epochs.

    Attributes:
        apm: its answers are standardised features; see ``fold``.
        optimizer: holds the moments of the parameters that are trained.
        mean: mean of the targets, ``(F,)``.
        std: standard deviation of the targets, ``(F,)``.
        settings: what the training depends on.
        held_out: ids of the validation images.
        epochs: one row per completed epoch.
    """

    apm: APM
    optimizer: torch.optim.Optimizer
    mean: Tensor
    std: Tensor
    settings: Settings
    held_out: Sequence[str]
    epochs: list[Measures]

    def write(self, path: Path) -> None:
        """Write the checkpoint, completely or not at all.

        Raises:
            UserError: when it cannot be written.
        """
        tensors = {f"apm.{name}": value for name, value in self.apm.state_dict().items()}
        for name, parameter in self.apm.named_parameters():
            for moment, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"adam.{name}.{moment}"] = value
        tensors |= {"target.mean": self.mean, "target.std": self.std}
        contiguous = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        metadata = {
            _FORMAT: _VERSION,
            "settings": self.settings.model_dump_json(),
            "held_out": json.dumps(list(self.held_out)),
            "epochs": json.dumps(self.epochs),
        }
        write_file(path, safetensors.torch.save(contiguous, metadata))

    def resume(self, path: Path) -> None:
        """Take over weights, moments and history of a checkpoint with the same settings.

        Raises:
            UserError: when it cannot be read, or has other settings: naming each with both values.
        """
        refuse_other_training(path, self.settings)
        _, history, tensors = _read(path)
        self.mean.copy_(tensors["target.mean"])
        self.std.copy_(tensors["target.std"])
        load_strictly(self.apm, _with_prefix(tensors, "apm."), path)
        for name, parameter in self.apm.named_parameters():
            own = _with_prefix(tensors, f"adam.{name}.")
            if own:
                # The step count stays on the CPU unless the optimiser is fused, as torch itself loads it.
                self.optimizer.state[parameter] = {moment: own[moment].to(parameter.device) for moment in _MOMENTS}
        self.epochs[:] = history["epochs"]


def refuse_other_training(path: Path, settings: Settings) -> None:
    """Refuse a checkpoint with other settings, before anything is computed; its tensors are not read.

    Raises:
        UserError: when it cannot be read, or has other settings: naming each with both values.
    """
    with _checkpoint_errors(path), safe_open(path, "pt") as file:
        recorded = _settings(path, file.metadata() or {})
    if differ := recorded.differences(settings):
        raise UserError(f"{path.parent} holds another training ({'; '.join(differ)}); choose another folder with --out")


@dataclass(frozen=True)
class Field:
    """A field that is ready to answer.

    Attributes:
        apm: the APM, on its device, frozen.
        pixels: how it reads images.
        width: number of features that carry meaning, at most the APM's.
        settings: settings of its training; None for a released checkpoint, which does not record them.
        held_out: ids of the images on which its training was validated and from which it did not learn; empty where
            unknown.
        sha256: SHA-256 of the file.
    """

    apm: APM
    pixels: Pixels
    width: int
    settings: Settings | None
    held_out: frozenset[str]
    sha256: str


def load_field(path: Path, device: torch.device) -> Field:
    """Load a checkpoint of ``run-bench train-field``, or a released one (``.pth``, or the same as safetensors).

    Raises:
        UserError: when it cannot be read, is not an APM's, has other sizes than it states, or holds more than weights.
    """
    file = weights_file(path)
    if _has_own_format(path):
        settings, history, tensors = _read(path)
        apm = APM(settings.config)
        load_strictly(apm, _with_prefix(tensors, "apm."), path)
        fold(apm, tensors["target.mean"], tensors["target.std"])
        pixels: Pixels = ImageNetPixels(settings.config)
        return Field(
            _frozen(apm, device), pixels, settings.width, settings, frozenset(history["held_out"]), file.sha256
        )
    state = read_state_dict(file)
    if not has_reference_names(state):
        raise UserError(f"{path} is neither a checkpoint of run-bench train-field nor a released APM")
    try:
        config = reference_config(state)
        apm = APM(config)
        apm.load_reference_state_dict(state)
    except ValueError as error:
        raise UserError(f"{path} is not a usable released APM: {error}") from None
    return Field(_frozen(apm, device), ReleasedPixels(config), config.feature_dim, None, frozenset(), file.sha256)


@torch.no_grad()
def fold(apm: APM, mean: Tensor, std: Tensor) -> None:
    r"""Make ``apm`` answer with features instead of standardised ones; its colours stay unchanged.

    With :math:`f = \sigma f' + \mu` the feature head becomes :math:`\sigma W, \sigma b + \mu`; in the
    RGB head's first layer the part that reads f becomes :math:`W_f / \sigma`, its bias :math:`b - W_f (\mu / \sigma)`.
    """
    state = apm.state_dict()
    head, first = state["feature_head.weight"], state["rgb_head.0.weight"][:, : len(mean)]
    state["rgb_head.0.bias"].sub_(first @ (mean / std))
    first.div_(std)
    head.mul_(std[:, None])
    state["feature_head.bias"].mul_(std).add_(mean)


def _frozen(apm: APM, device: torch.device) -> APM:
    return apm.eval().requires_grad_(False).to(device)


def _has_own_format(path: Path) -> bool:
    try:
        with safe_open(path, "pt") as file:
            return _FORMAT in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def _read(path: Path) -> tuple[Settings, dict[str, Any], dict[str, Tensor]]:
    """Read a checkpoint: its settings, the rest of its header, and its tensors."""
    with _checkpoint_errors(path), safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        settings = _settings(path, metadata)
        history = {name: json.loads(metadata[name]) for name in ("held_out", "epochs")}
        return settings, history, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping


def _settings(path: Path, metadata: Mapping[str, str]) -> Settings:
    if metadata.get(_FORMAT) != _VERSION:
        raise UserError(f"{path} is not a checkpoint of this version of run-bench train-field")
    try:
        return Settings.model_validate_json(metadata["settings"])
    except ValidationError as error:
        raise UserError(f"{path} has settings that cannot be read: {one_line(error)}") from None


@contextmanager
def _checkpoint_errors(path: Path) -> Iterator[None]:
    """Turn whatever reading a damaged checkpoint raises into one line."""
    try:
        yield
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a checkpoint: {' '.join(str(error).split())}") from None


def _with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
