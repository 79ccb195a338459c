"""A timm model and a file of weights, without the resizing that timm does silently."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
from timm.models import PretrainedCfg, model_entrypoint
from torch import Tensor, nn

from apm_tta.errors import UserError
from apm_tta.teachers.checkpoints import WeightsFile, load_strictly, read_state_dict

PROTOTYPES = "use --classifier prototypes --support FOLDER"
"""What is left to a teacher without a head that fits."""

_MOST_PREFIX_TOKENS = 5  # a class token and four registers


def build_model(kind: str, configuration: PretrainedCfg, weights: WeightsFile, needs_head: bool) -> nn.Module:
    """Build the model and load its weights strictly, but for the head where nobody asked for it.

    Args:
        kind: architecture, with its tag or without.
        configuration: the checkpoint's: input size, classes.
        weights: the file, in timm's own names or in those of authors that timm knows.
        needs_head: whether the head's weights must be there too.

    Raises:
        UserError: when the file cannot be read as weights alone, or is of another architecture or input size.
    """
    model: Any = timm.create_model(kind, pretrained=False, pretrained_cfg=configuration)
    state = read_state_dict(weights)
    # The authors' own checkpoints have other names: timm translates them where the architecture's module can.
    translate = getattr(sys.modules[model_entrypoint(kind).__module__], "checkpoint_filter_fn", None)
    found: dict[str, Tensor] = state if translate is None else translate(dict(state), model)
    heads = tuple(f"{each}." for each in _names(model.default_cfg.get("classifier")))
    own: dict[str, Tensor] = model.state_dict()
    optional = () if needs_head else tuple(key for key in own if key.startswith(heads))
    if needs_head:
        _refuse_other_head(found, own, heads, weights.path)
    else:
        found = {key: value for key, value in found.items() if not key.startswith(heads)}
    _refuse_resized(state, found, own, weights.path)
    load_strictly(model, found, weights.path, optional)
    made: nn.Module = model
    return made


def _refuse_other_head(found: dict[str, Tensor], own: dict[str, Tensor], heads: tuple[str, ...], path: Path) -> None:
    for key in (key for key in own if key.startswith(heads)):
        if key not in found:
            raise UserError(f"{path} has no head ({key}); {PROTOTYPES}", exit_code=2)
        if len(found[key]) != len(own[key]):
            raise UserError(f"the head in {path} has {len(found[key])} classes, not {len(own[key])}; {PROTOTYPES}", 2)


def _refuse_resized(state: dict[str, Tensor], found: dict[str, Tensor], own: dict[str, Tensor], path: Path) -> None:
    """Refuse what timm's translation has resized, without a word, from another input size."""
    for key, value in state.items():
        if key not in own or key not in found or value.numel() == own[key].numel():
            continue
        # Positions of class and register tokens may stand before those of the patches.
        prefix = value.shape[1] - own[key].shape[1] if key == "pos_embed" else 0
        if not 0 < prefix <= _MOST_PREFIX_TOKENS:
            raise UserError(
                f"{path} is of another input or patch size: {key} is {tuple(value.shape)}, not {tuple(own[key].shape)}"
            )


def _names(classifier: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the head's modules, as timm's configurations have them."""
    return (classifier,) if isinstance(classifier, str) else tuple(classifier or ())
