"""Names of weights: what training code puts in front of a model's own names is found by comparing with these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from torch import Tensor

from apm_tta.errors import UserError

# Put in front by compilation and data parallelism, and by either inside the other, at any level of a name.
_WRAPPERS = ("_orig_mod", "module")
# torch's averaged models count their updates among the weights.
_COUNTERS = ("n_averaged",)
# Of the model's names; less behind a prefix is no copy of it.
_SMALLEST_SHARE = 0.5
_MAX_NAMED = 3


def without_wrappers(state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Remove the names of wrapping modules at the front of every name, and the counters that they add.

    Raises:
        UserError: when two names become one.
    """
    return _renamed({name: _unwrapped(name) for name in state if name not in _COUNTERS}, state, path)


def without_prefix(state: Mapping[str, Tensor], own: Collection[str], path: Path) -> dict[str, Tensor]:
    """Remove the prefix behind which a training framework saved the model, such as ``model.`` or ``student.backbone.``.

    Nothing is removed where most names are the model's own, or less than half of them are found behind a prefix: the
    file then has names of another kind, which only a translation finds.

    Args:
        state: tensors by name.
        own: names of the model's tensors.
        path: of the file, for messages.

    Raises:
        UserError: when the model is found behind several prefixes, or two names become one.
    """
    known = set(own)
    found: Counter[str] = Counter()
    for name in state:
        # The shortest alone: a text tower's names are found behind ``visual.`` too.
        found.update([prefix for prefix, rest in _divisions(name) if rest in known][:1])
    share = _SMALLEST_SHARE * len(known)
    if not found or max(found.values()) < share:
        return dict(state)
    copies = [prefix for prefix, count in found.most_common() if count >= share]
    if len(copies) > 1:
        places = ", ".join(f"{found[prefix]} behind {prefix!r}" if prefix else f"{found['']} bare" for prefix in copies)
        raise UserError(f"{path} contains the model's names more than once ({places}); save the one to use by itself")
    if not copies[0]:
        return dict(state)
    return _renamed({name: _unwrapped(name.removeprefix(copies[0])) for name in state}, state, path)


def first_few(names: Collection[str]) -> str:
    """Return some of the names, for a message."""
    return ", ".join(list(names)[:_MAX_NAMED]) + (", ..." if len(names) > _MAX_NAMED else "")


def _divisions(name: str) -> Iterable[tuple[str, str]]:
    """Divide a name after none, one, two, ... of its components, ignoring wrappers behind these."""
    prefix, rest = "", name
    while rest:
        yield prefix, _unwrapped(rest)
        first, dot, rest = rest.partition(".")
        prefix += first + dot


def _unwrapped(name: str) -> str:
    first, dot, rest = name.partition(".")
    return _unwrapped(rest) if dot and first in _WRAPPERS else name


def _renamed(names: Mapping[str, str], state: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the tensors of ``state`` under new names.

    Raises:
        UserError: when two tensors get one name.
    """
    before: dict[str, str] = {}
    for name, new in names.items():
        if (other := before.setdefault(new, name)) != name:
            raise UserError(f"{path} contains {new} twice, as {other} and as {name}; save the one to use by itself")
    return {new: state[name] for new, name in before.items()}
