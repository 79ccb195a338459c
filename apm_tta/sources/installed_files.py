"""The code of an installed plug-in: its distribution, version and files, as they were when a class of it came in."""

from __future__ import annotations

import hashlib
import importlib.metadata
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path
from types import FunctionType
from weakref import WeakKeyDictionary

from apm_tta.errors import UserError
from apm_tta.sources.module_origin import MAIN_MODULES, distribution_at, is_ours, module_path, top_level

_GROUP = "apm_tta.methods"
_BYTE_CODE = (".pyc", ".pyo")
_PIECE = 2**20


@dataclass(frozen=True)
class InstalledFiles:
    """The files of one distribution.

    Attributes:
        distribution: its name.
        version: its version.
        root: folder that the paths of its files begin at.
        files: which they are; None where they are all that lies below ``place``.
        place: the file or the folder of the package that a class is from.
        sha256: of paths and contents.
    """

    distribution: str
    version: str
    root: Path
    files: tuple[Path, ...] | None
    place: Path
    sha256: str


Kind = type | FunctionType
_KNOWN: WeakKeyDictionary[Kind, InstalledFiles] = WeakKeyDictionary()


def note_installed(kind: Kind, point: EntryPoint | None = None) -> None:
    """Digest the files of the distribution that ``kind`` is from; nothing happens for a class that is from none.

    Call it when the class comes in: what is on disk later need not be what was imported.

    Args:
        kind: a class, or a function.
        point: the entry point that it was loaded by.
    """
    module = kind.__module__
    place = module_path(sys.modules[module]) if module in sys.modules else None
    if is_ours(module) or module in MAIN_MODULES or place is None:
        return
    distribution = (point.dist if point is not None else None) or _distribution(module, place)
    if distribution is not None:
        root, package = _package(module, place)
        files = _recorded(distribution, place)
        _KNOWN[kind] = InstalledFiles(
            distribution.metadata["Name"], distribution.version, root, files, package, _digest(root, package, files)
        )


def installed_files(kind: Kind) -> InstalledFiles | None:
    """Return what ``note_installed`` found; None for a class of no distribution.

    Raises:
        UserError: when a file was edited since: nobody can say then which code runs.
    """
    known = _KNOWN.get(kind)
    if known is not None and _digest(known.root, known.place, known.files) != known.sha256:
        raise UserError(
            f"files of {known.distribution} {known.version} in {known.place} were edited after {kind.__qualname__} was "
            "imported from them: start Python again (in a notebook: restart the kernel)"
        )
    return known


def _distribution(module: str, place: Path) -> Distribution | None:
    """Return what has installed a module, or what offers methods of its package by an entry point."""
    found = distribution_at(place)
    if found is not None:
        return found
    for point in importlib.metadata.entry_points(group=_GROUP):
        if top_level(point.module) == top_level(module):
            return point.dist
    return None


def _package(module: str, place: Path) -> tuple[Path, Path]:
    """Return the folder from which a module is imported, and the outermost package, or the file, that it is part of.

    A folder without ``__init__.py`` may be shared with other distributions: it is no package of this one.
    """
    names = module.split(".")
    for depth in range(1, len(names)):
        package = sys.modules.get(".".join(names[:depth]))
        file = None if package is None else getattr(package, "__file__", None)
        if file is not None:
            return Path(file).parents[depth], Path(file).parent
    inside = place.parent if place.stem == "__init__" else place
    return inside.parents[len(names) - 1], inside


def _recorded(distribution: Distribution, place: Path) -> tuple[Path, ...] | None:
    """Return the code and data that a distribution lists as its own; None where ``place`` is not among them."""
    files = [
        Path(str(file.locate()))
        for file in distribution.files or ()
        if file.parts[0] != ".." and not file.parts[0].endswith((".dist-info", ".egg-info"))
    ]
    return tuple(files) if place in files else None


def _digest(root: Path, package: Path, files: Iterable[Path] | None) -> str:
    found = [package] if package.is_file() else [path for path in package.rglob("*") if path.is_file()]
    digest = hashlib.sha256()
    for path in sorted(found if files is None else files):
        if path.suffix in _BYTE_CODE or any(part.startswith(".") for part in path.relative_to(root).parts):
            continue
        digest.update(path.relative_to(root).as_posix().encode(errors="surrogateescape") + b"\0" + _content(path))
    return digest.hexdigest()


def _content(path: Path) -> bytes:
    """Digest one file, in pieces: a package may carry weights."""
    digest = hashlib.sha256()
    if not path.is_file():
        return bytes(digest.digest_size)
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.digest()
