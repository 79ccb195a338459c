"""A timm model and a file of weights, without the resizing that timm does silently."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import timm
from timm.models import model_entrypoint
from torch import Tensor, nn

from apm_tta.errors import UserError
from apm_tta.teachers.checkpoints import WeightsFile, load_strictly, read_state_dict, refuse_changed
from apm_tta.teachers.timm_release import TimmRelease
from apm_tta.teachers.weight_names import without_prefix

PROTOTYPES = "use --classifier prototypes --support FOLDER"
"""Advice for a teacher that has no suitable head."""

_MOST_PREFIX_TOKENS = 5  # a class token and four registers


def build_model(release: TimmRelease, weights: WeightsFile, needs_head: bool) -> nn.Module:
    """Build the model and load its weights strictly, except for the head where it is not needed.

    Args:
        release: architecture and settings of the checkpoint.
        weights: the weights file, with timm's names or those of authors whose names timm translates.
        needs_head: whether the file must contain the head's weights too.

    Raises:
        UserError: when the file contains more than weights, or belongs to another architecture or input size, or when
            the architecture does not have the pooling that the checkpoint states.
    """
    found = read_state_dict(weights)  # before the model is made, which takes longer than to refuse a wrong file
    kind, model = release.kind, _make(release)
    heads = tuple(f"{each}." for each in _head_modules(model.default_cfg.get("classifier")))
    model_state: dict[str, Tensor] = model.state_dict()
    optional = () if needs_head else tuple(key for key in model_state if key.startswith(heads))
    body = {key for key in model_state if not key.startswith(heads)}
    state, translated = _own_names(kind, model, found, body, weights.path)
    if not needs_head:
        translated = {key: value for key, value in translated.items() if not key.startswith(heads)}
    elif body <= translated.keys():  # otherwise it is no checkpoint of this architecture, whatever its head
        _refuse_other_head(translated, model_state, heads, weights.path)
    _refuse_resized(state, translated, model_state, weights.path)
    load_strictly(model, translated, weights.path, optional)
    refuse_changed(weights)
    network: nn.Module = model
    return network


def _make(release: TimmRelease) -> Any:
    """Make the model with the checkpoint's arguments, and with its pooling where the architecture has another."""
    pool, plain = release.global_pool, dict[str, Any](release.arguments)
    for arguments in (plain, {**plain, "global_pool": pool}):
        model: Any = timm.create_model(
            release.kind, pretrained=False, pretrained_cfg=release.configuration, **arguments
        )
        if pool is None or _pooling(model) == pool:
            return model
    raise UserError(f"the checkpoint states global_pool {pool!r}, but timm's {release.kind} has {_pooling(model)!r}", 2)


def _pooling(model: Any) -> str | None:
    """Return the name of a model's pooling; timm's families keep it in their head or in the model."""
    head = getattr(model, "head", None)
    for holder, attribute in ((head, "global_pool"), (head, "pool_type"), (model, "global_pool")):
        pool = getattr(holder, attribute, None)
        pool = getattr(pool, "pool_type", pool)
        if isinstance(pool, str):
            return pool
    return None


def _own_names(
    kind: str, model: Any, state: dict[str, Tensor], needed: set[str], path: Path
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return tensors by the file's names and by the model's, without the prefix of a training framework.

    The authors' own checkpoints use other names, which timm translates where the architecture's module can; some of
    these translations know prefixes, such as that of the image tower in a CLIP, and choose what is behind them.
    """
    module = sys.modules[model_entrypoint(kind).__module__]
    translate: Callable[..., dict[str, Tensor]] = getattr(module, "checkpoint_filter_fn", lambda state, _: state)
    bare = without_prefix(state, model.state_dict(), path)
    if bare.keys() != state.keys():
        with suppress(Exception):  # a translation may raise anything where names are not those that it knows
            translated = translate(dict(state), model)
            if needed <= translated.keys():
                return state, translated
    return bare, translate(dict(bare), model)


def _refuse_other_head(
    state: dict[str, Tensor], model_state: dict[str, Tensor], heads: tuple[str, ...], path: Path
) -> None:
    for key in (key for key in model_state if key.startswith(heads)):
        if key not in state:
            raise UserError(f"{path} has no head ({key}); {PROTOTYPES}", exit_code=2)
        classes, expected = len(state[key]), len(model_state[key])
        if classes != expected:
            stated = path.with_name("config.json")
            mended = f"write num_classes {classes} into {stated}, or " if stated.exists() else ""
            raise UserError(f"the head in {path} has {classes} classes, not {expected}; {mended}{PROTOTYPES}", 2)


def _refuse_resized(
    state: dict[str, Tensor], translated: dict[str, Tensor], model_state: dict[str, Tensor], path: Path
) -> None:
    """Refuse tensors that timm's translation has silently resized from another input size."""
    for key, value in state.items():
        if key not in model_state or key not in translated or value.numel() == model_state[key].numel():
            continue
        # Positions of class and register tokens may precede those of the patches.
        prefix = value.shape[1] - model_state[key].shape[1] if key == "pos_embed" else 0
        if not 0 < prefix <= _MOST_PREFIX_TOKENS:
            raise UserError(
                f"{path} has another input or patch size: {key} is {tuple(value.shape)}, "
                f"not {tuple(model_state[key].shape)}"
            )


def _head_modules(classifier: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the head's modules; timm's configurations state one name, several or none."""
    return (classifier,) if isinstance(classifier, str) else tuple(classifier or ())
