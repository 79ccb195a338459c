"""Pickle things with the code that no other process could import: of a notebook cell, a script, a user module."""

from __future__ import annotations

import functools
import importlib
import io
import pickletools
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FunctionType, ModuleType
from typing import Any, NewType

# Python's own pickle sends functions and classes by their names, which no other process could look up.
import cloudpickle

from apm_tta.registry import Registry
from apm_tta.sources.code_form import global_reads
from apm_tta.sources.global_values import PLACES
from apm_tta.sources.module_origin import MAIN_MODULES, OURS, library_version, top_level
from apm_tta.sources.object_parts import WEAK

_LRU_CACHE = type(functools.lru_cache(lambda: None))


class Unsendable(Exception):
    """Something cannot be pickled; the message is one line."""


def pickled_with_code(content: Any, plugins: frozenset[str]) -> bytes:
    """Pickle ``content``, and with it the code that no other process could import.

    Args:
        content: anything.
        plugins: top-level packages of installed methods, which every process imports by itself.

    Raises:
        Unsendable: when something cannot be pickled, or is known by a name of this process alone.
    """
    buffer = io.BytesIO()
    with _cloudpickle_as_it_was():
        try:
            _CodePickler(buffer, plugins).dump(content)
        except Exception as error:
            raise Unsendable(" ".join(f"{error or type(error).__name__}".split())) from error
        own = {*cloudpickle.list_registry_pickle_by_value(), *MAIN_MODULES}
    packed = buffer.getvalue()
    for module, name in _names_in(packed):
        if module in own:
            raise Unsendable(f"{module}.{name} is known by its name alone")
    return packed


class _CodePickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Sends what cloudpickle alone would refuse, or would leave to the script of the process that unpickles.

    Args:
        file: where it writes.
        plugins: top-level packages of installed methods, which every process imports by itself.
        kept: of user modules that were met already, by their address: what is sent of them.
    """

    def __init__(
        self, file: io.BytesIO, plugins: frozenset[str], kept: dict[int, dict[str, Any]] | None = None
    ) -> None:
        super().__init__(file)
        self._plugins = plugins
        self._kept: dict[int, dict[str, Any]] = {} if kept is None else kept

    def reducer_override(self, value: Any) -> Any:
        name: Any = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        own = isinstance(name, str) and top_level(name) not in self._plugins and library_version(name) is None
        if own:
            _register_by_value(name)
        if isinstance(value, ModuleType):
            if own:
                return ModuleType, (value.__name__,), self._content(value)
            if sys.modules.get(value.__name__) is value:  # of any class, such as torch.ops
                return importlib.import_module, (value.__name__,)
        if type(value) in WEAK:
            return type(value), ()
        if type(value) is functools.cached_property:  # has a lock in Python up to 3.11
            return _cached_property, (value.func, value.attrname)
        if isinstance(value, Registry) and (home := _home(value)) is not None:
            return _attribute, home
        if type(value) is _LRU_CACHE and not _is_importable(value):
            return _cached, (value.__wrapped__, value.cache_parameters()), vars(value)
        if type(value) is NewType and not _is_importable(value):
            return NewType, (value.__name__, value.__supertype__)
        reduced = super().reducer_override(value)
        if isinstance(value, FunctionType) and isinstance(reduced, tuple):
            _add_globals(value, reduced[2][1]["__globals__"])
        return reduced

    def _content(self, module: ModuleType) -> dict[str, Any]:
        """Return what can be sent of a module; what a method needs of the rest shows in the digest of its code."""
        if id(module) not in self._kept:
            self._kept[id(module)] = {}  # meanwhile: modules import one another
            content = {name: value for name, value in vars(module).items() if name not in PLACES}
            self._kept[id(module)] = {name: value for name, value in content.items() if self._can_send(value)}
        return self._kept[id(module)]

    def _can_send(self, value: Any) -> bool:
        try:
            _CodePickler(io.BytesIO(), self._plugins, self._kept).dump(value)
        except Exception:
            return False
        return True


def _add_globals(function: FunctionType, namespace: dict[str, Any]) -> None:
    """Add what the bodies of classes inside ``function`` read: cloudpickle takes no notice of them."""
    names = {read.name for read in global_reads(function.__code__)}
    namespace.update({name: function.__globals__[name] for name in sorted(names) if name in function.__globals__})


def _cached_property(function: Any, name: str) -> Any:
    made = functools.cached_property(function)
    made.__set_name__(type(None), name)
    return made


def _cached(function: Any, parameters: Mapping[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(function)


def _attribute(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


def _home(value: object) -> tuple[str, str] | None:
    """Return the module of this package that holds ``value``, and its name there."""
    for module, content in list(sys.modules.items()):
        if module.partition(".")[0] == OURS:
            for name, each in vars(content).items():
                if each is value:
                    return module, name
    return None


def _is_importable(value: Any) -> bool:
    module = getattr(value, "__module__", None)
    by_value = cloudpickle.list_registry_pickle_by_value()
    return module not in (None, *MAIN_MODULES, *by_value) and module in sys.modules


def _register_by_value(name: str) -> None:
    """Have cloudpickle send the code of a user module: another machine need not have it."""
    module = sys.modules.get(name) if name != MAIN_MODULES[0] else None
    # It goes by the names that modules call themselves.
    if module is not None and getattr(module, "__name__", None) == name:
        cloudpickle.register_pickle_by_value(module)


@contextmanager
def _cloudpickle_as_it_was() -> Iterator[None]:
    """Take back, at the end of the block, which modules cloudpickle sends by value."""
    before = cloudpickle.list_registry_pickle_by_value()
    try:
        yield
    finally:
        for name in cloudpickle.list_registry_pickle_by_value() - before:
            cloudpickle.unregister_pickle_by_value(sys.modules[name])


def _names_in(packed: bytes) -> Iterator[tuple[str, str]]:
    """Return every module and name that unpickling would look up."""
    memo: list[Any] = []
    texts: list[str] = []
    last: Any = None
    argument: Any
    for opcode, argument, _ in pickletools.genops(packed):
        if opcode.name == "MEMOIZE":
            memo.append(last)
            continue
        last = None
        if opcode.name in ("BINGET", "LONG_BINGET"):
            last = memo[argument]
        elif "UNICODE" in opcode.name:
            last = argument
        elif opcode.name == "GLOBAL":
            module, _, name = argument.partition(" ")
            yield module, name
        elif opcode.name == "STACK_GLOBAL":
            yield texts[-2], texts[-1]
        if isinstance(last, str):
            texts = [*texts[-1:], last]
