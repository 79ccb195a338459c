"""A field's checkpoint: safetensors with its weights, optimiser and history; and the public release's format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from apm_tta.apm import APM
from apm_tta.apm.reference import from_reference_names, has_reference_names, reference_config
from apm_tta.errors import UserError
from apm_tta.field.checkpoint_file import (
    MOMENTS,
    CheckpointContent,
    Measures,
    encode_checkpoint,
    is_checkpoint,
    read_checkpoint,
    read_settings,
)
from apm_tta.field.pixels import ImageNetPixels, Pixels, ReleasedPixels
from apm_tta.field.settings import Settings
from apm_tta.system.files import write_file
from apm_tta.teachers.checkpoints import load_strictly, read_state_dict, weights_file
from apm_tta.teachers.weight_names import first_few
from apm_tta.teachers.weight_values import refuse_unusable_values

CHECKPOINT_FILE = "field.safetensors"


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
        moments = {
            name: dict(self.optimizer.state[parameter])
            for name, parameter in self.apm.named_parameters()
            if self.optimizer.state.get(parameter)
        }
        content = CheckpointContent(
            settings=self.settings,
            config=self.apm.config,
            held_out=list(self.held_out),
            epochs=self.epochs,
            weights=self.apm.state_dict(),
            moments=moments,
            mean=self.mean,
            std=self.std,
        )
        if not path.parent.is_dir():
            raise UserError(
                f"{path.parent} is gone: it was renamed or removed while the training wrote into it",
                advice="put it back",
                passing=True,
            )
        write_file(path, encode_checkpoint(content))

    def resume(self, path: Path) -> None:
        """Take over weights, moments and history of a checkpoint with the same settings.

        Raises:
            UserError: when it cannot be read, or has other settings: naming each with both values.
        """
        refuse_other_training(path, self.settings)
        content = read_checkpoint(path)
        trained = {id(parameter) for group in self.optimizer.param_groups for parameter in group["params"]}
        names = {name for name, parameter in self.apm.named_parameters() if id(parameter) in trained}
        if content.epochs and content.moments.keys() != names:
            odd = first_few(sorted(content.moments.keys() ^ names))
            raise UserError(f"checkpoint {path} is damaged (Adam's moments of {odd}); move it away and train again")
        self.mean.copy_(content.mean)
        self.std.copy_(content.std)
        load_strictly(self.apm, content.weights, path)
        for name, parameter in self.apm.named_parameters():
            if own := content.moments.get(name):
                # The step count stays on the CPU unless the optimiser is fused, as torch itself loads it.
                self.optimizer.state[parameter] = {moment: own[moment].to(parameter.device) for moment in MOMENTS}
        self.epochs[:] = content.epochs


def refuse_other_training(path: Path, settings: Settings) -> None:
    """Refuse a checkpoint with other settings, before anything is computed; its tensors are not read.

    Raises:
        UserError: when it cannot be read, or has other settings: naming each with both values.
    """
    if differ := read_settings(path).differences(settings):
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
    try:
        file = weights_file(path)
    except UserError:
        if path.exists():
            raise
        raise UserError(f"there is no checkpoint {path}; run-bench train-field writes one") from None
    if is_checkpoint(path):
        content = read_checkpoint(path)
        apm = APM(content.config)
        load_strictly(apm, content.weights, path)
        fold(apm, content.mean, content.std)
        settings, pixels = content.settings, ImageNetPixels(content.config)
        held_out = frozenset(content.held_out)
        return Field(_frozen(apm, device), pixels, settings.width, settings, held_out, file.sha256)
    state = read_state_dict(file)
    if not has_reference_names(state):
        raise UserError(
            f"{path} is neither a checkpoint of run-bench train-field nor a released APM; name one with --checkpoint"
        )
    try:
        config = reference_config(state)
        apm = APM(config)
        refuse_unusable_values(apm, from_reference_names(state, apm.state_dict(), config.readout == "token"), path)
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
