"""A request with the methods of one's own, as bytes for another process."""

from __future__ import annotations

import functools
import importlib
import io
import pickle
import pickletools
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import FunctionType, ModuleType
from typing import Any, NewType

# Sends what no other process could import: classes of a notebook cell, of a script, of a module of one's own.
import cloudpickle

from apm_tta.errors import UserError
from apm_tta.methods import METHODS, Method
from apm_tta.registry import Registry
from apm_tta.sources.code_form import global_reads
from apm_tta.sources.global_values import PLACES, is_own_module
from apm_tta.sources.installed_files import installed_files
from apm_tta.sources.method_source import code_in_memory, is_package_method
from apm_tta.sources.module_origin import MAIN_MODULES, OURS, library_version
from apm_tta.sources.object_parts import WEAK

_ADVICE = "run it on one device without --ray, or create that in setup()"
_LRU_CACHE = type(functools.lru_cache(lambda: None))


def pack(content: Any, names: Iterable[str]) -> bytes:
    """Pickle ``content`` with the methods of ``names`` that are not of this package.

    Classes of installed distributions are sent by their name, every other one with its code and all that it refers to.

    Raises:
        UserError: for a method that cannot be sent, naming it.
    """
    methods = {name: METHODS.get(name) for name in names}
    methods = {name: method for name, method in methods.items() if not is_package_method(method)}
    for name, method in list(methods.items()):
        # What looks methods up by name finds those that the notebook has.
        if installed_files(method) is None and any(
            found is METHODS for found in code_in_memory(name, method).registries
        ):
            methods |= {other: known for other, known in METHODS.registered().items() if not is_package_method(known)}
    with _registered_by_value():
        try:
            return _pickled((methods, content))
        except _Unsendable as error:
            raise _refused(methods, error) from error


def unpack(packed: bytes) -> Any:
    """Register the methods that were packed, and return the content.

    Raises:
        UserError: when this process lacks what the methods were written with.
    """
    try:
        methods, content = pickle.loads(packed)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"the methods of this run cannot be rebuilt in another process ({reason})") from error
    for name, method in methods.items():
        if not _is_known(name, method):
            METHODS.register(name)(method)
    return content


def _is_known(name: str, method: type[Method[Any]]) -> bool:
    """Return whether a class came in by itself: as it was imported, or by the entry point of its package."""
    return name in METHODS.names() and METHODS.get(name) is method


class _Unsendable(Exception):
    """Something cannot be pickled; the message is one line."""


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Sends what cloudpickle alone would refuse, or would leave to the script of the process that unpickles.

    Args:
        file: where it writes.
        kept: of modules of one's own that were met already, by their address: what is sent of them.
    """

    def __init__(self, file: io.BytesIO, kept: dict[int, dict[str, Any]] | None = None) -> None:
        super().__init__(file)
        self._kept: dict[int, dict[str, Any]] = {} if kept is None else kept

    def reducer_override(self, value: Any) -> Any:
        _register_by_value(value)
        if isinstance(value, ModuleType):
            if is_own_module(value):
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
            _Pickler(io.BytesIO(), self._kept).dump(value)
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


def _register_by_value(value: Any) -> None:
    """Have cloudpickle send the code of one's own modules: another machine need not have them."""
    name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    module = sys.modules.get(name) if isinstance(name, str) and name != MAIN_MODULES[0] else None
    # It goes by the names that modules call themselves.
    if module is not None and getattr(module, "__name__", None) == name and library_version(name) is None:
        cloudpickle.register_pickle_by_value(module)


@contextmanager
def _registered_by_value() -> Iterator[None]:
    """Leave cloudpickle as it was."""
    before = cloudpickle.list_registry_pickle_by_value()
    try:
        yield
    finally:
        for name in cloudpickle.list_registry_pickle_by_value() - before:
            cloudpickle.unregister_pickle_by_value(sys.modules[name])


def _pickled(content: Any) -> bytes:
    buffer = io.BytesIO()
    try:
        _Pickler(buffer).dump(content)
    except Exception as error:
        raise _Unsendable(" ".join(f"{error or type(error).__name__}".split())) from error
    packed = buffer.getvalue()
    own = {*cloudpickle.list_registry_pickle_by_value(), *MAIN_MODULES}
    for module, name in _names_in(packed):
        if module in own:
            raise _Unsendable(f"{module}.{name} is known by its name alone")
    return packed


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


def _refused(methods: Mapping[str, Any], error: Exception) -> UserError:
    """Say which of the methods it is."""
    for name, method in methods.items():
        try:
            _pickled(method)
        except _Unsendable as own:
            return UserError(f"method {name} cannot be sent to other processes ({own}): {_ADVICE}")
    return UserError(f"this run cannot be sent to other processes ({error}): {_ADVICE}")
