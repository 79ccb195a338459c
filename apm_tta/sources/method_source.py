"""The identity of a method's code, for the manifest of a run."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from apm_tta.errors import UserError
from apm_tta.registry import Registry
from apm_tta.sources.graph_digest import Undigestible, graph_digest
from apm_tta.sources.installed_files import installed_files
from apm_tta.sources.module_origin import is_ours
from apm_tta.sources.object_parts import leaf, parts


@dataclass(frozen=True)
class Source:
    """Which code a user-defined method is.

    Attributes:
        distribution: that has installed it; None for code of none: a notebook cell, a script, a user module.
        version: of the distribution; of Python, whose byte code is digested, for code of none.
        sha256: of the distribution's files as they were imported; of the code in memory, and of everything that it
            refers to, for code of none.
    """

    distribution: str | None
    version: str
    sha256: str


@dataclass(frozen=True)
class CodeInMemory:
    """Code of no distribution, as another process would have to have it.

    Attributes:
        sha256: of its content.
        registries: what it can look up by name.
    """

    sha256: str
    registries: tuple[Registry[Any], ...]


def method_source(name: str, method: type) -> Source | None:
    """Return the identity of a method's code; None for a method of this package, whose revision tells it.

    Args:
        name: of the method.
        method: its class.

    Raises:
        UserError: when something that the method refers to has no content that could be compared, or when its
            installed files were edited after they were imported.
    """
    if is_package_method(method):
        return None
    files = installed_files(method)
    if files is not None:
        return Source(files.distribution, files.version, files.sha256)
    python = ".".join(map(str, sys.version_info[:2]))
    return Source(None, f"Python {python}", code_in_memory(name, method).sha256)


def code_in_memory(name: str, method: type) -> CodeInMemory:
    """Digest the class as it is now, with everything that it refers to.

    Raises:
        UserError: when something that it refers to has no content that could be compared.
    """
    try:
        found = graph_digest(method, method.__name__, leaf, parts)
    except Undigestible as error:
        raise UserError(
            f"method {name} refers to {error.path}, whose content cannot be compared between runs ({error.reason}): "
            "create it in setup(), or where it is used"
        ) from error
    return CodeInMemory(found.sha256, tuple(value for value in found.values if isinstance(value, Registry)))


def is_package_method(method: type) -> bool:
    """Return whether a class is where this package has it, and not one of somebody else's that says so."""
    if not is_ours(method.__module__):
        return False
    module = sys.modules.get(method.__module__)
    return getattr(module, method.__qualname__, None) is method
