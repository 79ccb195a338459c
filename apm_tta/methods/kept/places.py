"""All places of a method where something may change from image to image: a walk over its attributes.

Containers, objects and networks are walked through. A place is named by its path: attributes, keys and indices behind
slashes. Tensors, generators, optimisers, and what is replaced rather than changed (numbers, texts, tuples, sets, frozen
dataclasses) are the ends of paths. What the method was built from is left out, and so is code.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from apm_tta.teachers.text_tower import TextTower

if TYPE_CHECKING:
    from apm_tta.methods.base import Method

CODE = (FunctionType, MethodType, BuiltinFunctionType, ModuleType, type, RemovableHandle, torch.device, torch.dtype)
PLAIN = (bool, int, float, str, bytes, type(None))
_ENDS = (Tensor, torch.Generator, torch.optim.Optimizer, tuple, set, frozenset, *PLAIN)
_GIVEN = frozenset({"teacher", "task", "classes", "parameters", "seed", "memory", "templates", "given"})
_OF_MODULES = ("_parameters", "_buffers", "_modules")


def places(method: Method[Any]) -> Iterator[tuple[str, Any]]:
    """Walk the places in a fixed order, containers before what they contain; yield path and value.

    What can be reached on several paths is yielded at the first alone; ``aliases`` names the others.
    """
    for path, value, first in _walk(method):
        if not first:
            yield path, value


def aliases(method: Method[Any]) -> Iterator[tuple[str, str]]:
    """Yield further paths to what ``places`` has at another: that path, and the first."""
    for path, _, first in _walk(method):
        if first:
            yield path, first


def children(value: Any) -> list[tuple[str, Any]]:
    """Return the parts of a value, each with its name in a path; none for the end of one."""
    if isinstance(value, _ENDS) or is_frozen(value):
        return []
    if isinstance(value, dict):
        return [(key_name(key), child) for key, child in value.items()]
    if isinstance(value, list | deque):
        return [(str(index), child) for index, child in enumerate(value)]
    own = vars(value) if hasattr(value, "__dict__") else {}
    if isinstance(value, nn.Module):
        return [(name, child) for name, child in own.items() if name in _OF_MODULES or not name.startswith("_")]
    return list(own.items())


def is_frozen(value: Any) -> bool:
    """Return whether a value is a frozen dataclass: one that changes is another one in its place."""
    stated: Any = getattr(type(value), "__dataclass_params__", None)  # dataclasses state it nowhere else
    return is_dataclass(value) and bool(stated.frozen)


def is_listed(value: Any) -> bool:
    """Return whether the parts of a value are looked up: where others come or go, it is stored whole."""
    return isinstance(value, dict | list | deque)


def key_name(key: Any) -> str:
    """Return how a key of a dictionary is written in a path."""
    text = key if isinstance(key, str) else f"{type(key).__name__} {key!r}"
    return text.replace("%", "%25").replace("/", "%2F")


def digest(value: Any) -> str:
    """Digest what stands at a place: the content of the end of a path, of a container its kind and keys."""
    found = hashlib.blake2b(digest_size=16)
    _add(found, value)
    return found.hexdigest()


def optimizer_parts(optimizer: torch.optim.Optimizer) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the moments of every parameter, in the order of the groups, and the settings of every group."""
    owned = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    moments = [dict(optimizer.state.get(parameter, {})) for parameter in owned]
    settings = [{key: each for key, each in group.items() if key != "params"} for group in optimizer.param_groups]
    return moments, settings


class Constants:
    """What a method was built from: it does not change, and nothing may be written into it.

    A teacher may build its towers when they are first asked for, which takes longer than a short run: only where a
    value could be one of them are they asked for.
    """

    def __init__(self, method: Method[Any]) -> None:
        self._teacher = method.given.teacher
        own = [value for name, value in vars(method).items() if name in _GIVEN]
        self._known = _by_id([*own, *vars(self._teacher).values(), method.given.class_weights, method.class_weights])

    def __contains__(self, value: Any) -> bool:
        if id(value) in self._known:
            return True
        if isinstance(value, TextTower):
            return self._teacher.classifier == "text" and value is self._teacher.text_tower
        return isinstance(value, nn.Module) and value is self._teacher.image_encoder


def _by_id(values: list[Any]) -> dict[int, Any]:
    return {id(value): value for value in values if not isinstance(value, PLAIN)}


def _walk(method: Method[Any]) -> Iterator[tuple[str, Any, str]]:
    """Yield path, value, and the first path to the same value where this is a further one, else an empty text."""
    first: dict[int, str] = {}
    held: list[Any] = []  # an id may be given again once a value is gone
    constant = Constants(method)
    pending: list[tuple[str, Any]] = [("", method)]
    while pending:
        path, value = pending.pop()
        if value in constant or isinstance(value, CODE):
            continue
        if not isinstance(value, PLAIN):
            if id(value) in first:
                yield path, value, first[id(value)]
                continue
            first[id(value)] = path
            held.append(value)
        yield path, value, ""
        pending += reversed([(f"{path}/{name}", child) for name, child in _looked_into(value)])


def _looked_into(value: Any) -> list[tuple[str, Any]]:
    """Return the parts of a value, of a method those that may change what it answers; one may ask another."""
    from apm_tta.methods.base import Method

    if not isinstance(value, Method):
        return children(value)
    left_out = _GIVEN | value.reloaded
    return [(name, child) for name, child in children(value) if name not in left_out] if value.remembers else []


def _add(found: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        content = value.detach().cpu().contiguous()
        found.update(f"{content.dtype} {tuple(content.shape)}".encode())
        found.update(content.flatten().view(torch.uint8).numpy().tobytes())
    elif isinstance(value, torch.Generator):
        _add(found, value.get_state())
    elif isinstance(value, torch.optim.Optimizer):
        for part in optimizer_parts(value):
            _add_all(found, part)
    elif isinstance(value, PLAIN):
        found.update(f"{type(value).__name__} {value!r}\n".encode())
    elif isinstance(value, tuple | set | frozenset) or is_frozen(value):
        _add_all(found, value)
    else:
        names = [name for name, _ in children(value)] if is_listed(value) else []
        found.update(json.dumps([type(value).__qualname__, names]).encode())


def _add_all(found: Any, value: Any) -> None:
    """Digest a value with everything below it."""
    if isinstance(value, dict):
        for key, child in value.items():
            _add(found, key_name(key))
            _add_all(found, child)
    elif isinstance(value, list | tuple):
        found.update(f"{type(value).__name__} {len(value)}\n".encode())
        for child in value:
            _add_all(found, child)
    elif is_frozen(value):
        found.update(type(value).__qualname__.encode())
        for field in fields(value):
            _add_all(found, getattr(value, field.name))
    elif isinstance(value, set | frozenset):
        found.update(json.dumps(sorted(digest(child) for child in value)).encode())
    else:
        _add(found, value)
