"""A request with the user-defined methods, as bytes for another process."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from typing import Any

from apm_tta.errors import UserError, describe_error
from apm_tta.harness.compute.code_pickler import Unsendable, pickled_with_code
from apm_tta.method_rows import method_of
from apm_tta.methods import METHODS, Method
from apm_tta.methods.base import find_method
from apm_tta.sources.installed_files import installed_files
from apm_tta.sources.method_source import code_in_memory, is_package_method
from apm_tta.sources.module_origin import top_level

_ADVICE = "run it on one device without --ray, or create that in setup()"


def pack(content: Any, names: Iterable[str]) -> bytes:
    """Pickle ``content`` with the methods of the rows ``names`` that are not of this package.

    Classes of installed distributions are sent by their name, every other one with its code and all that it refers to.

    Raises:
        UserError: for a method that cannot be sent, naming it.
    """
    methods = {method_of(name): find_method(name) for name in names}
    methods = {name: method for name, method in methods.items() if not is_package_method(method)}
    for name, method in list(methods.items()):
        # What looks methods up by name finds those that the notebook has.
        if installed_files(method) is None and any(
            found is METHODS for found in code_in_memory(name, method).registries
        ):
            methods |= {other: known for other, known in METHODS.registered().items() if not is_package_method(known)}
    plugins = frozenset(top_level(method.__module__) for method in methods.values() if installed_files(method))
    try:
        return pickled_with_code((methods, content), plugins)
    except Unsendable as error:
        raise _refused(methods, plugins, error) from error


def unpack(packed: bytes) -> Any:
    """Register the methods that were packed, and return the content.

    Raises:
        UserError: when this process lacks what the methods were written with.
    """
    try:
        methods, content = pickle.loads(packed)
    except Exception as error:
        reason = describe_error(error)
        raise UserError(f"the methods of this run cannot be rebuilt in another process ({reason})") from error
    for name, method in methods.items():
        if not _is_known(name, method):
            METHODS.register(name)(method)
    return content


def _is_known(name: str, method: type[Method[Any]]) -> bool:
    """Return whether a class came in by itself: as it was imported, or by the entry point of its package."""
    return name in METHODS.names() and METHODS.get(name) is method


def _refused(methods: Mapping[str, Any], plugins: frozenset[str], error: Exception) -> UserError:
    """Say which of the methods it is."""
    for name, method in methods.items():
        try:
            pickled_with_code(method, plugins)
        except Unsendable as own:
            return UserError(f"method {name} cannot be sent to other processes ({own}): {_ADVICE}")
    return UserError(f"this run cannot be sent to other processes ({error}): {_ADVICE}")
