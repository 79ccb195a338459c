"""A field in a file: safetensors with its weights, its optimiser and its history; and the public release's format."""

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
class Trained:
    """A training as far as it has come.

    Attributes:
        apm: its answers are standardised features: see ``folded``.
        optimizer: with the moments of the parameters that are trained.
        mean: of the targets, ``(F,)``.
        std: of the targets, ``(F,)``.
        settings: what it depends on.
        held_out: ids of the validation images.
        epochs: a row an epoch that is done.
    """

    apm: APM
    optimizer: torch.optim.Optimizer
    mean: Tensor
    std: Tensor
    settings: Settings
    held_out: Sequence[str]
    epochs: list[Measures]

    def write(self, path: Path) -> None:
        """Writes the checkpoint, whole or not at all.

        Raises:
            UserError: when it cannot be written.
        """
        tensors = {f"apm.{name}": value for name, value in self.apm.state_dict().items()}
        for name, parameter in self.apm.named_parameters():
            for moment, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"adam.{name}.{moment}"] = value
        tensors |= {"target.mean": self.mean, "target.std": self.std}
        held = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        metadata = {
            _FORMAT: _VERSION,
            "settings": self.settings.model_dump_json(),
            "held_out": json.dumps(list(self.held_out)),
            "epochs": json.dumps(self.epochs),
        }
        write_file(path, safetensors.torch.save(held, metadata))

    def resume(self, path: Path) -> None:
        """Takes over weights, moments and history of a checkpoint of the same settings.

        Raises:
            UserError: when it cannot be read, or is of other settings: naming each with both values.
        """
        refuse_other_training(path, self.settings)
        _, history, tensors = _read(path)
        self.mean.copy_(tensors["target.mean"])
        self.std.copy_(tensors["target.std"])
        load_strictly(self.apm, _within(tensors, "apm."), path)
        for name, parameter in self.apm.named_parameters():
            own = _within(tensors, f"adam.{name}.")
            if own:
                # The count of steps stays on the CPU unless the optimiser is fused: as torch itself loads it.
                self.optimizer.state[parameter] = {moment: own[moment].to(parameter.device) for moment in _MOMENTS}
        self.epochs[:] = history["epochs"]


def refuse_other_training(path: Path, settings: Settings) -> None:
    """Refuses a checkpoint of other settings, before anything is computed; its tensors are not read.

    Raises:
        UserError: when it cannot be read, or is of other settings: naming each with both values.
    """
    with _checkpoint_errors(path), safe_open(path, "pt") as file:
        there = _settings(path, file.metadata() or {})
    if differ := there.differences(settings):
        raise UserError(f"{path.parent} holds another training ({'; '.join(differ)}); name another folder with --out")


@dataclass(frozen=True)
class Field:
    """A field that answers.

    Attributes:
        apm: on its device, frozen.
        pixels: how it sees images.
        width: of the features that mean something, at most the APM's.
        settings: of its training; None for a released checkpoint, which does not say.
        held_out: ids of the images that its training was measured on and did not learn from; empty where unknown.
        sha256: of the file.
    """

    apm: APM
    pixels: Pixels
    width: int
    settings: Settings | None
    held_out: frozenset[str]
    sha256: str


def load_field(path: Path, device: torch.device) -> Field:
    """A checkpoint that ``run-bench train-field`` wrote, or a released one (``.pth``, or the same as safetensors).

    Raises:
        UserError: when it cannot be read, is no APM's, has other sizes than it says, or holds more than weights.
    """
    file = weights_file(path)
    if _is_ours(path):
        settings, history, tensors = _read(path)
        apm = APM(settings.config)
        load_strictly(apm, _within(tensors, "apm."), path)
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
        raise UserError(f"{path} is no released APM that can be used: {error}") from None
    return Field(_frozen(apm, device), ReleasedPixels(config), config.feature_dim, None, frozenset(), file.sha256)


@torch.no_grad()
def fold(apm: APM, mean: Tensor, std: Tensor) -> None:
    r"""Has ``apm`` answer with features where it answered with standardised ones, its colours staying what they are.

    With :math:`f = \sigma f' + \mu` the feature head becomes :math:`\sigma W, \sigma b + \mu`; of the RGB head's first
    layer the part that reads f becomes :math:`W_f / \sigma`, its bias :math:`b - W_f (\mu / \sigma)`.
    """
    state = apm.state_dict()
    head, first = state["feature_head.weight"], state["rgb_head.0.weight"][:, : len(mean)]
    state["rgb_head.0.bias"].sub_(first @ (mean / std))
    first.div_(std)
    head.mul_(std[:, None])
    state["feature_head.bias"].mul_(std).add_(mean)


def _frozen(apm: APM, device: torch.device) -> APM:
    return apm.eval().requires_grad_(False).to(device)


def _is_ours(path: Path) -> bool:
    try:
        with safe_open(path, "pt") as file:
            return _FORMAT in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def _read(path: Path) -> tuple[Settings, dict[str, Any], dict[str, Tensor]]:
    """Settings, what else its header says, and its tensors."""
    with _checkpoint_errors(path), safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        settings = _settings(path, metadata)
        history = {name: json.loads(metadata[name]) for name in ("held_out", "epochs")}
        return settings, history, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping


def _settings(path: Path, metadata: Mapping[str, str]) -> Settings:
    if metadata.get(_FORMAT) != _VERSION:
        raise UserError(f"{path} is no checkpoint of this version of run-bench train-field")
    try:
        return Settings.model_validate_json(metadata["settings"])
    except ValidationError as error:
        raise UserError(f"{path} has settings that cannot be read: {one_line(error)}") from None


@contextmanager
def _checkpoint_errors(path: Path) -> Iterator[None]:
    """What reading a damaged checkpoint raises becomes one line."""
    try:
        yield
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a checkpoint: {' '.join(str(error).split())}") from None


def _within(tensors: Mapping[str, Tensor], before: str) -> dict[str, Tensor]:
    return {name.removeprefix(before): value for name, value in tensors.items() if name.startswith(before)}
