"""Make ``docs/moved_parameters.yaml``: which parameters each method moves in five networks, and by whose rule.

``python docs/moved_parameters.py`` writes the file; a test compares the committed file with its output. The networks
have no weights: only the names of their parameters matter.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import open_clip
import timm
import torch
import yaml
from torch import nn

from apm_tta.methods.encoder import moved_names, normalisation_layers
from apm_tta.methods.memo import is_resnext_101
from apm_tta.methods.reliable_layers import top_layers

FILE = Path(__file__).parent / "moved_parameters.yaml"
HEAD = """\
# The parameters that each method moves in five networks; made by `python docs/moved_parameters.py`. Methods that are
# not named move none.
# Names are those of the image encoder before its head. "rule" is the authors' rule in words; "authors" compares its
# result on the same network with ours: "same", or what it has more (+) or less (-) than the list here.
"""
TIMM, OPEN_CLIP = ("resnet50", "resnext101_32x8d", "vit_base_patch16_224"), ("RN50", "ViT-B-16")
_NORMAL = {
    "watt": nn.LayerNorm,
    "clipartt": nn.LayerNorm,
    "batclip": (nn.LayerNorm, nn.BatchNorm2d),
}
Names = list[str]


def encoders() -> Iterator[tuple[str, nn.Module, list[str]]]:
    """Yield name, image encoder and names of the head's parameters of every network, without memory for weights."""
    with torch.device("meta"):
        for name in TIMM:
            network = timm.create_model(name)
            head = [f"{network.default_cfg['classifier']}.{part}" for part in ("weight", "bias")]
            network.reset_classifier(0)
            yield f"timm {name}", network, head
        for name in OPEN_CLIP:
            yield f"open_clip {name}", open_clip.create_model(name, device="meta").visual, []


def of_layers(encoder: nn.Module, chosen: Callable[[str, nn.Module], bool]) -> Names:
    """Return the names of weights and biases of the chosen modules, as the authors' ``collect_params`` do."""
    return [
        f"{name}.{own}"
        for name, module in encoder.named_modules()
        if chosen(name, module)
        for own, _ in module.named_parameters(recurse=False)
        if own in ("weight", "bias")
    ]


def tents(_name: str, module: nn.Module) -> bool:
    """Apply the rule of ``tent.collect_params``."""
    return isinstance(module, nn.BatchNorm2d)


def sars(name: str, module: nn.Module) -> bool:
    """Apply the rule of ``sar.collect_params``."""
    skipped = ("layer4", "blocks.9", "blocks.10", "blocks.11", "norm.")
    return (
        isinstance(module, nn.BatchNorm2d | nn.LayerNorm | nn.GroupNorm)
        and name != "norm"
        and not any(part in name for part in skipped)
    )


def is_one_of(kinds: Any, _name: str, module: nn.Module) -> bool:
    """Return whether a module is of some kinds."""
    return isinstance(module, kinds)


def roids(_name: str, module: nn.Module) -> bool:
    """Apply the rule of ``roid.collect_params``."""
    return isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm | nn.GroupNorm)


def compared(ours: Names, authors: Names) -> str | dict[str, Names]:
    """Return what the authors' list has more and less than ours."""
    more, less = sorted(set(authors) - set(ours)), sorted(set(ours) - set(authors))
    return "same" if not more and not less else {key: each for key, each in (("+", more), ("-", less)) if each}


def lists(encoder: nn.Module, head: Names) -> dict[str, Any]:
    """Return the lists of one network."""
    layers = list(normalisation_layers(encoder))
    top = top_layers(encoder)
    normal, everything = moved_names(encoder, layers), moved_names(encoder, None)
    reliable = moved_names(encoder, [name for name in layers if name not in top])
    called = moved_names(encoder, None, ("weight", "bias"))
    memo = "adamw" if not any(isinstance(each, nn.BatchNorm2d) for each in encoder.modules()) else "sgd"
    return {
        "tent": {
            "rule": "tent.collect_params: weight and bias of every BatchNorm2d; here of Layer and Group normalisation "
            "too",
            "authors": compared(normal, of_layers(encoder, tents)),
            "names": normal,
        },
        "sar": {
            "rule": "sar.collect_params: of Batch, Layer and Group normalisation, but for names with layer4, blocks.9, "
            "blocks.10, blocks.11 or norm; here the last quarter of the stages and what follows",
            "authors": compared(reliable, of_layers(encoder, sars)),
            "names": reliable,
        },
        "memo": {
            "rule": "optim(net.parameters()): every parameter, parameters=with_head here; all lacks the head, norm is "
            "tent's list; adamw for transformers and ResNeXt-101, sgd for other networks",
            "authors": compared([*everything, *head], [name for name, _ in encoder.named_parameters()] + head),
            "optimizer": "adamw" if is_resnext_101(encoder) else memo,
            "names": [*everything, *head],
        },
        "cotta": {
            "rule": "base.collect_params: what is called weight or bias in its layer, of every layer",
            "authors": compared([*called, *head], [*of_layers(encoder, lambda *_: True), *head]),
            "names": [*called, *head],
        },
        **{name: like("tent") for name in ("eta", "eata", "rdumb")},
        "deyo": like("sar"),
        **{
            name: {
                "rule": "LayerNorm's (batclip: BatchNorm's too); here of every normalisation layer",
                "authors": compared(normal, of_layers(encoder, partial(is_one_of, _NORMAL[name]))),
                "names": "those of tent",
            }
            for name in ("watt", "clipartt", "batclip")
        },
        **{
            name: {
                "rule": "roid.collect_params: Batch, Layer and Group normalisation",
                "authors": compared(normal, of_layers(encoder, roids)),
                "names": "those of tent",
            }
            for name in ("roid", "cmf", "rotta")
        },
    }


def like(other: str) -> dict[str, str]:
    """Return the entry of a method whose authors' code has the same rule as another's."""
    return {"rule": f"that of {other}", "authors": f"as for {other}", "names": f"those of {other}"}


def text() -> str:
    """Return the whole file."""
    networks = {name: lists(encoder, head) for name, encoder, head in encoders()}
    return HEAD + yaml.safe_dump(networks, sort_keys=False, width=110, default_flow_style=None)


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
    sys.stdout.write(f"{FILE}\n")
