"""Describe what any Python object consists of, so that two processes can find out whether they have the same one.

Functions and classes of this package, of Python and of installed libraries are told by their name and version; a
the user's by their code, their attributes and everything that they refer to; anything else by what pickle would send.
"""

from __future__ import annotations

import copyreg
import functools
import hashlib
import struct
import sys
import types
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field
from enum import Enum, EnumMeta
from typing import Any, ForwardRef, NewType, TypeVar

import numpy as np
import torch
from pydantic.fields import FieldInfo

from apm_tta.registry import Registry
from apm_tta.sources.code_form import code_form
from apm_tta.sources.global_values import PLACES, Absent, global_values, is_own_module
from apm_tta.sources.graph_digest import Parts
from apm_tta.sources.module_origin import MAIN_MODULES, library_version

_CONSTANTS = (type(None), type(Ellipsis), type(NotImplemented))
_NO_CONTENT = frozenset(
    (
        *("__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__firstlineno__"),
        *("__abstractmethods__", "_abc_impl", "__slotnames__", "__orig_bases__", "__parameters__"),
        *("__static_attributes__", "__annotations_cache__", "__annotate_func__", "__annotate__"),
    )
)
"""Attributes of classes that say where these were written, or that follow from the others."""

_DESCRIPTORS = (
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
)
WEAK = (weakref.WeakKeyDictionary, weakref.WeakValueDictionary, weakref.WeakSet)
"""Caches: what is in them may be gone at any time, so that nothing may depend on it."""

_HEAP_TYPE = 1 << 9
"""Flag of classes that a ``class`` statement makes; those of C without it are Python's own."""

_LEAVES: dict[type, Callable[[Any], bytes]] = {
    str: lambda value: value.encode("utf-8", "surrogatepass"),
    int: lambda value: value.to_bytes((value.bit_length() + 8) // 8, "big", signed=True),
    float: lambda value: struct.pack(">d", value),
    bytes: lambda value: value,
}
_COMPILED = "what torch.compile has made does not tell how it was compiled"
_LRU_CACHE = type(functools.lru_cache(lambda: None))
_Parts = Callable[[Any], Parts]


def leaf(value: Any) -> bytes | None:
    """Return the content of a value without children, its type in front; None for every other one."""
    kind: type = type(value)
    if kind is bool or kind in _CONSTANTS:
        return b"constant" + repr(value).encode()
    encode = _LEAVES.get(kind)
    return None if encode is None else kind.__name__.encode() + encode(value)


def parts(value: Any) -> Parts:
    """Describe ``value``.

    Raises:
        TypeError: for what has no content that could be compared, such as a lock or an open file.
    """
    if (content := leaf(value)) is not None:
        return Parts(content)
    exact = _EXACT.get(type(value))
    if exact is not None:
        return exact(value)
    for kind, describe in _KINDS:
        if issubclass(type(value), kind):  # what it is, whatever it says to be
            return describe(value)
    return _pickled(value)


def _label(*words: Any) -> bytes:
    """Return ``words`` as bytes that no others give."""
    return repr(words).encode("utf-8", "backslashreplace")


def _named(kind: str, children: Mapping[str, Any], *words: Any, joint: str = ".") -> Parts:
    """Describe what has children by name, whose order does not count."""
    names = sorted(children)
    return Parts(_label(kind, *words, names), [(f"{joint}{name}", children[name]) for name in names])


def _sequence(kind: str, children: Iterable[Any], *words: Any) -> Parts:
    return Parts(_label(kind, *words), [(f"[{index}]", child) for index, child in enumerate(children)])


def _in_library(module: Any, name: str, value: Any) -> str | None:
    """Return what a thing of a library is called, with its version; None where it is not found under its name."""
    if not isinstance(module, str) or (version := library_version(module)) is None:
        return None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return f"{module}.{name} {version}" if found is value else None


def _function(function: types.FunctionType) -> Parts:
    own = library_version(_home(function.__globals__)) is None
    if not own and (name := _in_library(function.__module__, function.__qualname__, function)):
        return Parts(_label("named", name))
    if (original := getattr(function, "_torchdynamo_orig_callable", None)) is not None:
        if not getattr(function, "_torchdynamo_disable", False):
            raise TypeError(_COMPILED)
        return Parts(_label("torch.compiler.disable"), [("", original)])
    cells = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            cells[name] = cell.cell_contents
        except ValueError:  # a variable that nothing has been given to
            cells[name] = Absent()
    children = {
        "": function.__code__,
        "'s defaults": function.__defaults__,
        **{f"'s default of {name}": value for name, value in (function.__kwdefaults__ or {}).items()},
        **{f"'s variable {name}": value for name, value in cells.items()},
        **{f".{name}": value for name, value in vars(function).items()},
    }
    if own:
        children.update({f" -> {name}": value for name, value in global_values(function)})
    # Of a library's function that has no name, such as the inside of a decorator, the version tells the globals.
    version = None if own else library_version(_home(function.__globals__))
    return _named("function", children, function.__name__, version, joint="")


def _home(namespace: Mapping[str, Any]) -> str | None:
    name = namespace.get("__name__")
    return name if isinstance(name, str) else None


def _code(code: types.CodeType) -> Parts:
    form = code_form(code)
    return Parts(_label("code", *form.label), [("", constant) for constant in form.constants])


def _class(kind: type) -> Parts:
    if (name := _in_library(kind.__module__, kind.__qualname__, kind)) is not None:
        return Parts(_label("named", name))
    if not kind.__flags__ & _HEAP_TYPE:
        return Parts(_label("builtin type", kind.__module__, kind.__qualname__))
    attributes = {
        name: value
        for name, value in vars(kind).items()
        if name not in _NO_CONTENT
        and not (name.startswith("__pydantic_") and name != "__pydantic_fields__")
        and not isinstance(value, types.MemberDescriptorType)  # follows from __slots__
        and not _is_inherited(kind, name, value)
    }
    metaclass = () if type(kind) is type else (("'s metaclass", type(kind)),)
    children = {**{f".{name}": value for name, value in attributes.items()}, **dict(metaclass)}
    described = _named("class", children, kind.__name__, joint="")
    bases = [(f"'s base {base.__name__}", base) for base in kind.__bases__]
    return Parts(described.label, [*bases, *described.children])


def _is_inherited(kind: type, name: str, value: Any) -> bool:
    """Return whether a class would have the same attribute without stating it: sending a class may leave it out."""
    for base in kind.__mro__[1:]:
        if name in vars(base):
            other = vars(base)[name]
            content = leaf(value)
            return value is other or (content is not None and content == leaf(other))
    return False


def _enum_class(kind: EnumMeta) -> Parts:
    if (name := _in_library(kind.__module__, kind.__qualname__, kind)) is not None:
        return Parts(_label("named", name))
    members: Mapping[str, Any] = kind.__members__
    attributes = {
        f".{name}": value
        for name, value in vars(kind).items()
        if name not in members and name not in _NO_CONTENT and (name == "_missing_" or not _is_sunder(name))
    }
    described = _named("enum", attributes, kind.__name__, tuple(members), joint="")
    bases = [(f"'s base {base.__name__}", base) for base in kind.__bases__]
    values = [(f".{name}", member.value) for name, member in members.items()]
    return Parts(described.label, [*bases, *values, *described.children])


def _member(member: Enum) -> Parts:
    """Describe a member by its value too: a combination of flags need not have a name."""
    return Parts(_label("member", member.name), [("'s class", type(member)), (".value", member.value)])


def _is_sunder(name: str) -> bool:
    return name.startswith("_") and name.endswith("_") and not name.startswith("__")


def _module(module: types.ModuleType) -> Parts:
    if not is_own_module(module):
        return Parts(_label("library", module.__name__, library_version(module.__name__)))
    children = {name: value for name, value in vars(module).items() if name not in PLACES}
    return _named("module", children)


def _builtin(function: Any) -> Parts:
    """Describe a function of C; one that is bound to an object together with it."""
    bound = getattr(function, "__self__", None)
    name = getattr(function, "__qualname__", function.__name__)
    version = library_version(module) if isinstance(module := getattr(function, "__module__", None), str) else None
    by_name = bound is None or isinstance(bound, type | types.ModuleType) or type(bound).__name__ == "PyCapsule"
    return Parts(_label("builtin", module, version, name), [] if by_name else [("'s object", bound)])


def _descriptor(descriptor: Any) -> Parts:
    kind = descriptor.__objclass__
    name = _in_library(kind.__module__, kind.__qualname__, kind)
    return Parts(_label("descriptor", name, descriptor.__name__))


def _tensor(tensor: torch.Tensor) -> Parts:
    """Describe a tensor by what is in it; where it lies, and what was computed with it, do not count."""
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.device.type == "meta":
        raise TypeError("only dense tensors with plain numbers can be compared")
    plain = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous()
    content = hashlib.sha256(plain.reshape(-1).view(torch.uint8).numpy().data).digest()
    label = _label("tensor", str(tensor.dtype), tuple(tensor.shape), tensor.requires_grad, content)
    return Parts(label, [("'s type", type(tensor)), *_state(vars(tensor))])


def _array(array: np.ndarray[Any, Any]) -> Parts:
    kind = [("'s dtype", array.dtype)]
    if array.dtype.hasobject:
        return Parts(_label("array", array.shape), [*kind, ("", array.tolist())])
    content = hashlib.sha256(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data).digest()
    return Parts(_label("array", array.shape, content), kind)


def _registry(registry: Registry[Any]) -> Parts:
    """Describe entries by name: those of this package and of libraries by their version, the user's by code."""
    own = {
        name: entry
        for name, entry in registry.registered().items()
        if library_version(getattr(entry, "__module__", None)) is None
    }
    return _named("registry", own, registry.kind, joint=" ")


def _field(field: Field[Any]) -> Parts:
    """Describe a field of a dataclass."""
    names = ("name", "type", "default", "default_factory", "init", "repr", "hash", "compare", "kw_only")
    children = {name: getattr(field, name) for name in names}
    # Whether it is a field or a variable of the class is told by an object that pickle would copy.
    return _named("field", {**children, "metadata": dict(field.metadata)}, str(getattr(field, "_field_type", None)))


def _pydantic_field(field: FieldInfo) -> Parts:
    """Describe what pydantic checks; descriptions and whatever else is for readers decide nothing."""
    names = ("annotation", "default", "default_factory", "metadata")
    return _named("pydantic field", {name: getattr(field, name) for name in names})


def _lru_cache(cached: Any) -> Parts:
    """Describe a cached function: what is in its cache follows from it."""
    parameters = tuple(sorted(cached.cache_parameters().items()))
    return _named("lru_cache", dict(vars(cached)), parameters)


def _type_variable(variable: TypeVar) -> Parts:
    children = [("'s bound", variable.__bound__), ("'s constraints", variable.__constraints__)]
    return Parts(_label("TypeVar", variable.__name__), children)


def _pickled(value: Any) -> Parts:
    """Describe an object as pickle would send it."""
    if str(type(value).__module__).startswith("torch._dynamo"):  # no text for a function of Cython's
        raise TypeError(_COMPILED)
    reduce = copyreg.dispatch_table.get(type(value))
    try:
        reduced: Any = reduce(value) if reduce is not None else value.__reduce_ex__(4)
    except Exception as error:
        raise TypeError(str(error) or type(error).__name__) from error
    if isinstance(reduced, str):
        name = _in_library(getattr(value, "__module__", None) or _module_with(reduced, value), reduced, value)
        if name is None:
            raise TypeError(f"cannot compare a {type(value).__name__} that is known by its name alone")
        return Parts(_label("named", name))
    function, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
    attributes = _state(state)
    elements = [(f"[{index}]", item) for index, item in enumerate(items or ())]
    entries = [(f"[{key!r:.40}]", each) for key, item in pairs or () for each in (key, item)]
    label = _label("object", len(attributes), len(elements), len(entries))
    return Parts(label, [("", function), ("", arguments), *attributes, *elements, *entries])


def _state(state: Any) -> list[tuple[str, Any]]:
    """Return the attributes of an object by name, or whatever else it keeps as its state."""
    both = state if isinstance(state, tuple) and len(state) == 2 else (state, None)
    found = [part or {} for part in both]
    if all(type(part) is dict and all(type(name) is str for name in part) for part in found):
        return [(f".{name}", each) for part in found for name in sorted(part) for each in (name, part[name])]
    return [("'s state", state)]


def _module_with(name: str, value: Any) -> str | None:
    """Return the module that has ``value`` under ``name``, as pickle looks for it."""
    for module, content in list(sys.modules.items()):
        if module not in MAIN_MODULES and getattr(content, "__dict__", {}).get(name) is value:
            return module
    return None


def _dictionary(value: Mapping[Any, Any]) -> Parts:
    """Describe a mapping, its order included: whoever adds up its values depends on it."""
    return Parts(_label("dict"), [(f"[{key!r:.40}]", each) for key, item in value.items() for each in (key, item)])


# In this order: the first that fits describes it.
_KINDS: tuple[tuple[Any, _Parts], ...] = (
    (types.FunctionType, _function),
    (EnumMeta, _enum_class),
    (type, _class),
    (types.CodeType, _code),
    (types.ModuleType, _module),
    (types.MethodType, lambda method: Parts(_label("bound"), [("", method.__func__), ("'s object", method.__self__)])),
    ((types.BuiltinFunctionType, types.MethodWrapperType), _builtin),
    (_DESCRIPTORS, _descriptor),
    (
        (staticmethod, classmethod),
        lambda method: Parts(_label(type(method).__name__), [("", method.__func__)]),
    ),
    (property, lambda each: _sequence("property", (each.fget, each.fset, each.fdel), type(each).__name__)),
    (functools.cached_property, lambda each: Parts(_label("cached_property", each.attrname), [("", each.func)])),
    (_LRU_CACHE, _lru_cache),
    (Enum, _member),
    (torch.Tensor, _tensor),
    (Registry, _registry),
    (Field, _field),
    (FieldInfo, _pydantic_field),
    (TypeVar, _type_variable),
    (NewType, lambda each: Parts(_label("NewType", each.__name__), [("", each.__supertype__)])),
    (ForwardRef, lambda each: Parts(_label("ForwardRef", each.__forward_arg__))),
    (types.MappingProxyType, _dictionary),
    (WEAK, lambda each: Parts(_label(type(each).__name__))),
    (types.CellType, lambda cell: _sequence("cell", (cell.cell_contents,))),
    (Absent, lambda _: Parts(_label("absent"))),
)
_EXACT: dict[type, _Parts] = {
    tuple: functools.partial(_sequence, "tuple"),
    list: functools.partial(_sequence, "list"),
    dict: _dictionary,
    set: lambda value: Parts(_label("set"), [("", each) for each in value], ordered=False),
    frozenset: lambda value: Parts(_label("frozenset"), [("", each) for each in value], ordered=False),
    complex: lambda value: _sequence("complex", (value.real, value.imag)),
    np.ndarray: _array,
    bytearray: lambda value: Parts(_label("bytearray", bytes(value))),
}
