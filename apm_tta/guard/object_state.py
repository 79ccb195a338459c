"""Everything that an object leads to, attributes, containers, modules and tensors, and whether it is still the same."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import cached_property
from inspect import getattr_static
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

from torch import Tensor, nn

from apm_tta.guard.checksum import checksum

_PLAIN = (int, float, complex, str, bytes, type(None))
_OPAQUE = (*_PLAIN, type, FunctionType, BuiltinFunctionType, MethodType, ModuleType)
_TABLE = 1000
"""A container with more entries is a table, such as a tokenizer's, of which only the length is compared."""

_KEPT_AS = "_state_at_first"
_PARTS = ("_modules", "_parameters", "_buffers")
_ABSENT = object()


class _Inner(NamedTuple):
    """The key of what a module keeps in a dictionary of its own.

    Attributes:
        attribute: that has the dictionary.
        name: the key in it.
    """

    attribute: str
    name: Any


@dataclass
class _Holder:
    """One object that holds others.

    Attributes:
        name: how it is reached, in words.
        value: the object.
        children: what it held, by key, index or attribute.
        outline: result of ``_outline`` for it then.
    """

    name: str
    value: Any
    children: dict[Any, Any]
    outline: list[int]


class ObjectState:
    """What an object leads to now, and whatever is added later.

    Nothing that is there may become something else. Values that are made when they are first needed may be added, but
    no hook or parameter to a module, and nothing that stands in for what an object's class states.

    Args:
        name: of the object, in words.
        root: the object.
    """

    def __init__(self, name: str, root: Any) -> None:
        self._holders: dict[int, _Holder] = {}
        self._tensors: dict[int, tuple[str, Tensor, bytes]] = {}
        self._counters: list[tuple[int, int]] = []
        self.add(name, root)

    def add(self, name: str, value: Any) -> None:
        """Add what is not there yet, before it is in anybody's hands.

        Args:
            name: of the value, in words.
            value: what the object now leads to.
        """
        self._add(name, value)
        self._counters += self._count()[len(self._counters) :]

    def difference(self, contents: bool) -> str | None:
        """Return the name of the first part that is not what it was; None where all are.

        Args:
            contents: whether every part is compared; else that is done only where torch has counted a change in place.
        """
        if not contents and self._count() == self._counters:
            return None
        looked_at: set[int] = set()
        # What is added meanwhile may have been looked at earlier, and changed since.
        while waiting := [key for key in self._holders if key not in looked_at]:
            for key in waiting:
                if (step := self._changed(self._holders[key])) is not None:
                    return self._holders[key].name + step
            looked_at.update(waiting)
        for name, tensor, content in self._tensors.values():
            if checksum(tensor) != content:
                return name
        self._counters = self._count()
        return None

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """Leave it out of a copy of the object, which other objects belong to."""
        return type(None), ()

    def _count(self) -> list[tuple[int, int]]:
        return [
            (0 if tensor.is_inference() else tensor._version, tensor.data_ptr())
            for _, tensor, _ in self._tensors.values()
        ]

    def _changed(self, holder: _Holder) -> str | None:
        outline = _outline(holder.value)
        if outline == holder.outline:
            return None
        now = _children(holder.value)
        for key, value in holder.children.items():
            if not _same(value, now.get(key, _ABSENT)):
                return _step(holder.value, key)
        for key in now.keys() - holder.children.keys():
            if not _may_be_added(holder.value, key):
                return _step(holder.value, key)
            self._add(holder.name + _step(holder.value, key), now[key])
        holder.children, holder.outline = now, outline
        return None

    def _add(self, name: str, root: Any) -> None:
        waiting = deque([(name, root)])
        while waiting:
            path, value = waiting.popleft()
            if isinstance(value, _OPAQUE) or id(value) in self._holders or id(value) in self._tensors:
                continue
            if isinstance(value, Tensor):
                self._tensors[id(value)] = (path, value, checksum(value))
                continue
            earlier = getattr(value, "__dict__", {}).get(_KEPT_AS)
            if isinstance(earlier, ObjectState) and earlier is not self:
                self._holders = {**earlier._holders, **self._holders}
                self._tensors = {**earlier._tensors, **self._tensors}
                continue
            children = _children(value)
            self._holders[id(value)] = _Holder(path, value, children, _outline(value))
            waiting += [(path + _step(value, key), child) for key, child in children.items()]


def state_of(name: str, root: Any) -> ObjectState:
    """Return the state of ``root`` when this function was first called for it; that is kept with the object."""
    known = getattr(root, "__dict__", {}).get(_KEPT_AS)
    if isinstance(known, ObjectState):
        return known
    state = ObjectState(name, root)
    if hasattr(root, "__dict__"):
        vars(root)[_KEPT_AS] = state
    return state


def _outline(value: Any) -> list[int]:
    """Return the identities of what an object holds and of its keys: quick, and equal only where nothing has changed.

    What it held then must be kept, as a holder's children are: an identity may be given again once a value is gone.
    """
    if isinstance(value, dict | list | tuple | set | frozenset):
        if len(value) > _TABLE:
            return [len(value)]
        if not isinstance(value, dict):
            return [len(value), *map(id, value)]
        parts = [value]
    else:
        parts = [held := getattr(value, "__dict__", {})]
        if isinstance(value, nn.Module):
            parts += [part for name, part in held.items() if name.startswith("_") and isinstance(part, dict)]
    found: list[int] = []
    for part in parts:
        found.append(len(part))
        if part:
            found += map(id, part)
            found += map(id, part.values())
    return found


def _children(value: Any) -> dict[Any, Any]:
    """Return what an object holds; a module's parts, parameters and hooks by the attribute that has them and by key."""
    if isinstance(value, dict | list | tuple | set | frozenset):
        if len(value) > _TABLE:
            return {"length": len(value)}
        if isinstance(value, dict):
            return dict(value)
        return dict(enumerate(value)) if isinstance(value, list | tuple) else {each: each for each in value}
    held = getattr(value, "__dict__", {})
    if isinstance(value, nn.Module):
        inner = [name for name, part in held.items() if name.startswith("_") and isinstance(part, dict)]
        parts = {_Inner(name, key): part for name in inner for key, part in held[name].items()}
        return {name: part for name, part in held.items() if name not in (*inner, _KEPT_AS)} | parts
    return {name: part for name, part in held.items() if name != _KEPT_AS}


def _same(old: Any, new: Any) -> bool:
    return old is new or (isinstance(old, _PLAIN) and type(old) is type(new) and old == new)


def _may_be_added(value: Any, key: Any) -> bool:
    if isinstance(value, dict):
        return True
    if isinstance(value, list | tuple | set | frozenset) or isinstance(key, _Inner):
        return False
    stated = getattr_static(type(value), key, None)
    return stated is None or isinstance(stated, cached_property)


def _step(value: Any, key: Any) -> str:
    """Return the words that lead from an object to one of its parts."""
    if isinstance(value, list | tuple):
        return f"[{key}]"
    if isinstance(key, _Inner):
        return f".{key.name}" if key.attribute in _PARTS else f".{key.attribute.lstrip('_')}"
    return f".{key.lstrip('_')}" if isinstance(key, str) and not isinstance(value, dict) else ""
