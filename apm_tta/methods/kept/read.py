"""A stored state put back into a method that begins as the one that it was taken of.

No code is stored, and none is chosen by what is stored: an object is made only of a class of which the method holds an
object anyway, or of a dataclass or named tuple in a loaded module of a package that the method's own classes are from.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from apm_tta.methods.kept.places import key_name, places

if TYPE_CHECKING:
    from apm_tta.methods.base import Method


class Reader:
    """Turns plain values, see ``Writer``, into a method's own."""

    def __init__(self, method: Method[Any], tensors: Mapping[str, Tensor]) -> None:
        self._method, self._tensors = method, tensors
        self._device = method.given.teacher.device
        self._packages = {kind.__module__.partition(".")[0] for kind in type(method).__mro__} - {"builtins"}
        self._held = {_class_name(type(value)): type(value) for _, value in places(method)}

    def put_back(self, changes: list[list[Any]], aliases: list[list[str]]) -> None:
        """Put every change to its path, and let every alias be what stands at the other.

        Raises:
            ValueError: when there is no such path, or a value does not fit there.
        """
        try:
            found = dict(places(self._method))
            for path, plain in changes:
                parent, _, name = path.rpartition("/")
                _set(found[parent], name, self._value(plain, _get(found[parent], name)))
            found = dict(places(self._method))
            for path, first in aliases:
                parent, _, name = path.rpartition("/")
                if _get(found[parent], name) is not found[first]:
                    _set(found[parent], name, found[first])
        except (KeyError, TypeError, AttributeError, IndexError, RuntimeError) as error:
            raise ValueError(f"the state does not fit the method ({type(error).__name__}: {error})") from None

    def _value(self, plain: Any, there: Any = None) -> Any:
        """Return what ``plain`` stands for; where it can be, that is what is there, changed."""
        if not isinstance(plain, dict):
            return plain
        ((kind, content),) = plain.items()
        if kind == "float":
            return float(content)
        if kind == "tensor":
            return self._tensor(content, there)
        if kind == "generator":
            return there.set_state(self._value(content))
        if kind == "optimizer":
            return self._optimizer(there, *map(self._value, content))
        if kind == "object":
            return self._object(*content)
        if kind == "dict":
            return self._dict({_hashable(self._value(key)): self._value(value) for key, value in content}, there)
        parts = [self._value(each) for each in content]
        made: Any = {"list": list, "tuple": tuple, "deque": deque, "set": set, "frozenset": frozenset}[kind](parts)
        if isinstance(there, list | deque) and type(there) is type(made):
            there.clear()
            there.extend(made)
            return there
        return made

    def _tensor(self, number: str, there: Any) -> Tensor:
        stored = self._tensors[number]
        # A network's own is changed in place: optimisers hold it too. Any other may be shared with what must not be.
        if isinstance(there, nn.Parameter):
            with torch.no_grad():
                return there.copy_(stored)
        # A copy, since a method may write into it, and the state may be put back again.
        return stored.to(there.device if isinstance(there, Tensor) else self._device, copy=True)

    def _dict(self, content: dict[Any, Any], there: Any) -> Any:
        if not isinstance(there, dict):
            return content
        there.clear()
        there.update(content)  # a defaultdict stays one
        return there

    def _optimizer(self, there: Any, moments: list[Any], settings: list[Any]) -> torch.optim.Optimizer:
        owned = [parameter for group in there.param_groups for parameter in group["params"]]
        there.state.clear()
        for parameter, own in zip(owned, moments, strict=True):
            if own:
                # The step count stays where the optimiser itself makes it.
                placed = {name: each if name == "step" else each.to(parameter.device) for name, each in own.items()}
                there.state[parameter] = placed
        for group, values in zip(there.param_groups, settings, strict=True):
            group.update(values)
        optimizer: torch.optim.Optimizer = there
        return optimizer

    def _object(self, name: str, parts: list[list[Any]]) -> Any:
        kind = self._class(name)
        values = {part: self._value(value) for part, value in parts}
        if hasattr(kind, "_fields"):
            return kind(**values)
        made = object.__new__(kind)
        vars(made).update(values)
        return made

    def _class(self, name: str) -> Any:
        if name in self._held:
            return self._held[name]
        module, _, path = name.partition(":")
        if module.partition(".")[0] not in self._packages or module not in sys.modules:
            raise TypeError(f"{name} is no class of the method's package")
        found: Any = sys.modules[module]
        for part in path.split("."):
            found = getattr(found, part)
        if not (isinstance(found, type) and (is_dataclass(found) or hasattr(found, "_fields"))):
            raise TypeError(f"{name} is no dataclass")
        return found


def _class_name(kind: type[Any]) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _hashable(key: Any) -> Any:
    return tuple(key) if isinstance(key, list) else key


def _get(owner: Any, name: str) -> Any:
    """Return the part of that name; None where there is none."""
    if isinstance(owner, dict):
        return next((value for key, value in owner.items() if key_name(key) == name), None)
    if isinstance(owner, list | deque):
        return owner[int(name)]
    return getattr(owner, name, None)


def _set(owner: Any, name: str, value: Any) -> None:
    """Set the part of that name, if it is not that already."""
    if _get(owner, name) is value and value is not None:
        return
    if isinstance(owner, dict):
        owner[next((key for key in owner if key_name(key) == name), name)] = value
    elif isinstance(owner, list | deque):
        owner[int(name)] = value
    else:
        setattr(owner, name, value)
