"""Check what the class of a method states, before its name means anything."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from typing import Any

from apm_tta.errors import UserError
from apm_tta.methods.presets import Published

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_RESERVED = ("all", "fast")
_PROTOCOLS = ("episodic", "online", "transductive")


def check_name(method: Any) -> None:
    """Refuse a class whose name cannot be that of a folder and a word on the command line.

    Raises:
        UserError: in one line.
    """
    name = getattr(method, "name", None)
    if not isinstance(name, str):
        raise UserError(f"class {method.__name__} states no name; write, for example, name = {_proposed(method)!r}")
    if not _NAME.fullmatch(name) or name in _RESERVED:
        raise UserError(
            f"class {method.__name__} cannot be method {name!r}: a name is made of letters, digits, _, - and ., begins "
            f"with a letter, a digit or _, and is not {' or '.join(map(repr, _RESERVED))}"
        )


def check_method(method: Any) -> None:
    """Refuse a class that lacks what a method has.

    Raises:
        UserError: in one line.
    """
    check_name(method)
    abstract = sorted(getattr(method, "__abstractmethods__", ()))
    if abstract:
        raise UserError(f"method {method.name} does not implement {', '.join(abstract)} (class {method.__name__})")
    _check_protocol(method)
    parameters = require_parameters(method)
    published = getattr(method, "published", None)
    if not (published is None or isinstance(published, Published)):
        raise UserError(f"method {method.name} states published {published!r}; write a Published, or another name")
    if published is not None and "preset" not in {field.name for field in fields(parameters)}:
        raise UserError(
            f"method {method.name} has a published setting and no parameter to choose it by: write "
            f'preset: Preset = "suite" in class {parameters.__name__}'
        )


def check_built(method: Any) -> None:
    """Refuse an object that says of itself what cannot be: its constructor may have set it.

    Raises:
        UserError: in one line.
    """
    _check_protocol(method)
    if type(method.batch_dependent) is not bool:
        raise UserError(f"method {method.name} states batch_dependent {method.batch_dependent!r}; write True or False")
    if not (type(method.least_batch) is int and method.least_batch > 0):
        raise UserError(f"method {method.name} states least_batch {method.least_batch!r}; write a whole number from 1")
    at_once = method.stream_batch
    if at_once is not None and not (type(at_once) is int and at_once > 0):
        raise UserError(f"method {method.name} states stream_batch {at_once!r}; write a whole number from 1, or None")


def require_parameters(method: Any) -> type[Any]:
    """Return the type of the method's parameters.

    Raises:
        UserError: when it is not a frozen dataclass with ``templates`` among its fields, in one line.
    """
    parameters: Any = getattr(method, "Parameters", None)
    if not (isinstance(parameters, type) and is_dataclass(parameters)):
        raise UserError(
            f"method {method.name} does not say what its parameters are: "
            f"class {method.__name__}(Method[...]), with a frozen dataclass in the brackets"
        )
    wrong = ""
    if not parameters.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        wrong = f"can be changed; write @dataclass(frozen=True) above class {parameters.__name__}"
    elif "templates" not in {field.name for field in fields(parameters)}:
        wrong = f'lack templates; write templates: Templates = "dataset" in class {parameters.__name__}'
    if wrong:
        raise UserError(f"the parameters of method {method.name} {wrong}")
    return parameters


def _check_protocol(method: Any) -> None:
    protocol = getattr(method, "protocol", None)
    if not isinstance(protocol, str) or protocol not in _PROTOCOLS:
        raise UserError(
            f"method {method.name} states {'no protocol' if protocol is None else f'protocol {protocol!r}'}; write "
            'protocol = "episodic", "online" where it keeps state between images, or "transductive" where it answers '
            "all images together"
        )


def _proposed(method: type) -> str:
    return method.__name__.lower()
