"""The other activation: weights trained with QuickGELU and run with GELU, or the other way round."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from open_clip.transformer import QuickGELU
from torch import nn

from apm_tta.verification.causes.base import CAUSES, Attempt
from apm_tta.verification.setup import Case, Network, NotApplicable

_QUICK = "QuickGELU"  # open_clip has one, timm another


@CAUSES.register("activation")
def activation(case: Case) -> list[Attempt]:
    """Try a copy of the teacher in which every GELU is a QuickGELU, and every QuickGELU a GELU.

    Raises:
        NotApplicable: when it has neither.
    """
    teacher: Any = case.teacher
    changed = copy.deepcopy(getattr(teacher, "built", teacher))
    networks = [value for value in vars(changed).values() if isinstance(value, nn.Module)]
    others = {_other_name(module) for network in networks for module in network.modules() if _is_either(module)}
    if not others:
        raise NotApplicable("it has no GELU")
    image_side = any(map(_is_either, changed.image_encoder.modules()))
    _swap(networks)
    name = f"{' and '.join(sorted(others))} in place of its own activation"
    network = Network(name, name if image_side else case.start.network.images_like, changed)
    return [Attempt(name, replace(case.start, network=network))]


def _is_either(module: nn.Module) -> bool:
    return isinstance(module, nn.GELU) or type(module).__name__ == _QUICK


def _other_name(module: nn.Module) -> str:
    return "GELU" if type(module).__name__ == _QUICK else _QUICK


def _swap(networks: Iterable[nn.Module]) -> None:
    """Exchange both activations in all networks, which may share modules."""
    parents = {id(module): module for network in networks for module in network.modules()}
    for parent in parents.values():
        for name, child in parent.named_children():
            if _is_either(child):
                setattr(parent, name, nn.GELU() if type(child).__name__ == _QUICK else QuickGELU())
