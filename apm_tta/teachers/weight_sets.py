"""Which of the tensors in a checkpoint are the weights: training scripts save them among other things."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from apm_tta.errors import UserError

_log = logging.getLogger(__name__)

# Of weights averaged over training and those of its last step; timm takes the average of a pair.
_AVERAGED = ("state_dict_ema", "model_ema")
_LAST = ("state_dict", "model")
_DEEPEST = 3
# State of a loss, such as the centre of DINO's, is a mapping of tensors too, but a small one.
_SMALLEST_SHARE = 0.1


def find_weights(content: Any, path: Path) -> Mapping[str, Tensor]:
    """Return the one set of weights that a checkpoint contains, however deep in it.

    Of averaged weights and those of the last step, such as ``state_dict_ema`` and ``state_dict``, the averaged ones are
    taken, as timm does, and a warning says so.

    Args:
        content: of the file.
        path: of the file, for messages.

    Raises:
        UserError: when it contains no tensors by name, anything else among them, or several sets of weights.
    """
    sets = _sets(content, ())
    if not sets:
        raise UserError(f"{path} does not contain tensors by name, but {_describe(content)}")
    largest = max(map(len, sets.values()))
    sets = {place: each for place, each in sets.items() if len(each) >= _SMALLEST_SHARE * largest}
    if () in sets and len(sets) > 1:
        inner = next(".".join(place) for place in sets if place)
        raise UserError(f"{path} does not contain only named tensors: {inner!r} holds others; save one set by itself")
    averaged = [place for place in sets if place[-1:] and place[-1] in _AVERAGED]
    last = [place for place in sets if place[-1:] and place[-1] in _LAST]
    if len(sets) == 2 and len(averaged) == len(last) == 1:
        (chosen,), (other,) = averaged, last
        _log.warning(
            "the weights are those averaged over training (%s), as timm takes them, not the last step's (%s)",
            *(".".join(chosen), ".".join(other)),
        )
        sets = {chosen: sets[chosen]}
    if len(sets) > 1:
        names = ", ".join(".".join(place) for place in sets)
        raise UserError(f"{path} contains several sets of weights ({names}); save the one to use in a file by itself")
    (found,) = sets.values()
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise UserError(f"{path} does not contain only named tensors: {name!r} is a {type(value).__name__}")
    return found


def _sets(content: Any, place: tuple[str, ...]) -> dict[tuple[str, ...], Mapping[Any, Any]]:
    """Return every mapping that contains tensors, by its place in the file."""
    if not isinstance(content, Mapping):
        return {}
    here = {place: content} if any(isinstance(value, Tensor) for value in content.values()) else {}
    if len(place) == _DEEPEST:
        return here
    # The state of an optimizer is numbered.
    inner = [_sets(value, (*place, name)) for name, value in content.items() if isinstance(name, str)]
    return here | {each: found for sets in inner for each, found in sets.items()}


def _describe(content: Any) -> str:
    if isinstance(content, Mapping) and content:
        name, value = next(iter(content.items()))
        return f"a {type(content).__name__} of which {name!r} is a {type(value).__name__}"
    return f"a {type(content).__name__}"
