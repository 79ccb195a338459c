"""An adaptable copy of the image encoder: trainable parameters, BatchNorm statistics, and exact restoration."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from apm_tta.errors import UserError
from apm_tta.teachers import Teacher

STATISTICS_ALONE = "norm"
"""The method that stands beside those which normalise by the batch: what its statistics do, without any learning."""

NORMALISATIONS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm)


def normalisation_layers(encoder: nn.Module) -> dict[str, nn.Module]:
    """Find Batch, Layer and Group normalisation layers with a scale or shift, by name, in the order of the modules."""
    return {
        name: module
        for name, module in encoder.named_modules()
        if isinstance(module, NORMALISATIONS) and next(module.parameters(recurse=False), None) is not None
    }


def moved_names(encoder: nn.Module, layers: Collection[str] | None, called: Collection[str] | None = None) -> list[str]:
    """Return the names of parameters, in the order of the network.

    Args:
        encoder: whose.
        layers: names of the modules that they belong to; None for all.
        called: what they are called there, such as ``weight``; None for any name.
    """
    found = []
    for name, _ in encoder.named_parameters():
        layer, _, own = name.rpartition(".")
        if (layers is None or layer in layers) and (called is None or own in called):
            found.append(name)
    return found


def fewest_images(teacher: Teacher) -> int:
    """Return of how many images the teacher's BatchNorm layers can take statistics: 2 where an image gives one value.

    So it is where the maps before such a layer are a single location; 1 without BatchNorm.
    """
    fewest: list[int] = []

    def look(layer: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        values, channels = inputs[0], inputs[0].shape[1]
        fewest.append(2 if values.numel() == channels else 1)

    layers = [module for module in teacher.image_encoder.modules() if isinstance(module, _BatchNorm)]
    handles = [layer.register_forward_hook(look) for layer in layers]
    try:
        if layers:
            side = teacher.image_size
            with torch.no_grad():
                teacher.image_encoder(torch.zeros(1, 3, side, side, device=teacher.device))
    finally:
        for handle in handles:
            handle.remove()
    return max(fewest, default=1)


def refuse_single_values(method: str, teacher: Teacher) -> None:
    """Refuse a teacher of whose BatchNorm layers one sees a single value per channel and image, for single images.

    Raises:
        UserError: since a single value has no variance. Exit code 2.
    """
    if fewest_images(teacher) > 1:
        raise UserError(
            f"method {method} takes BatchNorm's statistics of single images; in teacher {teacher.name} an image gives "
            "some channels a single value, which has no variance: choose a teacher with larger inputs",
            exit_code=2,
        )


def require_normalisation(method: str, teacher: Teacher) -> None:
    """Refuse a teacher without normalisation layers to adapt.

    Raises:
        UserError: when its image encoder has no normalisation layer with parameters. Exit code 2.
    """
    if not normalisation_layers(teacher.image_encoder):
        raise UserError(
            f"method {method} adapts the scales and shifts of Batch, Layer or Group normalisation; the image encoder "
            f"of teacher {teacher.name} has none",
            exit_code=2,
        )


class AdaptableEncoder:
    """A copy of an image encoder with some parameters that an optimiser may change.

    The copy stays in evaluation mode: dropout and similar layers would draw random numbers and make the prediction for
    an image depend on the others. The effect for which the authors' code calls ``train()`` is set by ``statistics``.

    Args:
        encoder: is copied and never modified.
        layers: names of modules whose own parameters are trainable; None for every parameter of the encoder.
        called: what a trainable parameter is called in its module; None for any name.
        statistics: what BatchNorm normalises with: ``source``, the running averages; ``batch``, the batch's own.
        prior: if given, the weight of the running averages; the batch's statistics get the rest.
        channels_last: whether convolutions get images with their channels together in memory, which many compute
            faster, in another order.

    Attributes:
        network: the copy.
        parameters: the trainable ones, in the order of the modules.
        names: of these, in the encoder.
        source: the teacher's own, likewise; nobody may write into them.
    """

    def __init__(
        self,
        encoder: nn.Module,
        layers: Collection[str] | None,
        statistics: Literal["source", "batch"] = "source",
        prior: float | None = None,
        *,
        called: Collection[str] | None = None,
        channels_last: bool = False,
    ) -> None:
        self._layout = torch.channels_last if channels_last else torch.preserve_format
        self.network = copy.deepcopy(encoder).eval().requires_grad_(False).to(memory_format=self._layout)
        source = dict(encoder.named_parameters())
        self.names = moved_names(encoder, layers, called)
        copied = dict(self.network.named_parameters())
        self.parameters = [copied[name].requires_grad_() for name in self.names]
        self.source = [source[name] for name in self.names]
        self._buffers = dict(encoder.named_buffers())
        for module in self.network.modules():
            if isinstance(module, _BatchNorm) and module.running_mean is not None:
                if statistics == "batch":
                    _use_batch_statistics(module)
                elif prior is not None:
                    module.register_forward_pre_hook(_blend_statistics(module, prior))

    def __call__(self, pixels: Tensor) -> Tensor:
        """Embed images ``(B, 3, S, S)``: ``(B, F)``, not normalised."""
        # Autocast caches rounded copies of parameters while it is active, but these parameters change meanwhile.
        torch.clear_autocast_cache()
        features: Tensor = self.network(pixels.contiguous(memory_format=self._layout))
        return features.float()

    def restore(self) -> None:
        """Restore the source's parameters and buffers bit by bit."""
        with torch.no_grad():
            for parameter, source in zip(self.parameters, self.source, strict=True):
                parameter.copy_(source)
                parameter.grad = None
            for name, buffer in self.network.named_buffers():
                buffer.copy_(self._buffers[name])


def _use_batch_statistics(module: _BatchNorm) -> None:
    module.track_running_stats = False
    module.running_mean = module.running_var = None


def _blend_statistics(module: _BatchNorm, prior: float) -> Callable[[nn.Module, tuple[Any, ...]], None]:
    """Make a hook that sets the averages before each forward pass from the source's, without a gradient."""
    assert module.running_mean is not None
    assert module.running_var is not None
    source_mean, source_variance = module.running_mean.clone(), module.running_var.clone()

    def blend(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        values: Tensor = inputs[0].detach().float()
        variance, mean = torch.var_mean(values, dim=[0, *range(2, values.ndim)])
        layer.running_mean = prior * source_mean + (1 - prior) * mean
        layer.running_var = prior * source_variance + (1 - prior) * variance

    return blend
