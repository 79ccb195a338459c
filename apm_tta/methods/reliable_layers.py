"""Choose the normalisation layers and the learning rate of SAR (arXiv 2302.12400) and DeYO (arXiv 2403.07366)."""

from __future__ import annotations

from torch import nn

from apm_tta.methods.encoder import normalisation_layers

_STAGES = ("blocks", "resblocks", "stages", "layers")


def layers_below_top(encoder: nn.Module) -> list[str]:
    """Name the normalisation layers that are not at the top; all of them where every one is."""
    layers, top = list(normalisation_layers(encoder)), top_layers(encoder)
    return [name for name in layers if name not in top] or layers


def top_layers(encoder: nn.Module) -> set[str]:
    """Name the normalisation layers in the last quarter of the stages, and those after it.

    The authors exclude ``layer4`` of a ResNet, ``blocks.9`` to ``blocks.11`` and the final ``norm`` of ViT-Base: the
    last of four stages, the last three of twelve blocks. The same share is excluded for encoders of other depths, and
    for open_clip's, which use other names for the same modules (``resblocks``, ``ln_post``).
    """
    first = _first_top_stage(encoder)
    names = [name for name, _ in encoder.named_modules()]
    top = names[names.index(first) :] if first else []
    return {name for name in normalisation_layers(encoder) if name in top}


def _first_top_stage(encoder: nn.Module) -> str | None:
    for name, module in encoder.named_modules():
        if hasattr(module, "layer4"):
            return f"{name}.layer4".lstrip(".")
        if name.rpartition(".")[2] in _STAGES and isinstance(module, nn.ModuleList | nn.Sequential) and len(module) > 1:
            stages = [stage for stage, _ in module.named_children()]
            return f"{name}.{stages[-max(1, len(stages) // 4)]}"
    return None


def published_rate(encoder: nn.Module, batch_size: int) -> float:
    """Return the learning rate of the authors' ``main.py`` for this kind of normalisation and this batch size.

    With only Layer normalisation it is proportional to the batch size; with others it is so below 32 images, at twice
    the rate. For single images, ``--exp_type bs1``, the script doubles either.
    """
    for_single_images = 2 if batch_size == 1 else 1
    if all(isinstance(layer, nn.LayerNorm) for layer in normalisation_layers(encoder).values()):
        return 0.001 / 64 * batch_size * for_single_images
    return 0.00025 / 64 * batch_size * 2 * for_single_images if batch_size < 32 else 0.00025
