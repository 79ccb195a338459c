"""Names that look the same and are not: letters with marks have a composed and a decomposed form in Unicode.

A file system of macOS, and what is copied from it, has the decomposed one; a list that is typed, the composed one.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePosixPath


def composed(name: str) -> str:
    """Return a name in the composed form, in which equal names are equal texts."""
    return unicodedata.normalize("NFC", name)


def as_found(expected: Sequence[str], found: Iterable[str]) -> tuple[str, ...]:
    """Return each of the expected names as it is found: as it is, or else in another form, if in one only."""
    names = set(found)
    if all(map(str.isascii, expected)):
        return tuple(expected)
    forms: dict[str, list[str]] = {}
    for name in names:
        forms.setdefault(composed(name), []).append(name)
    return tuple(_only(forms.get(composed(name), [])) or name if name not in names else name for name in expected)


def path_as_found(path: str, list_names: Callable[[str], Iterable[str]]) -> str:
    """Return a path, part by part, as it is found; see ``as_found``.

    Args:
        path: below some folder, with ``/``.
        list_names: returns the names in a folder below it; ``.`` for itself.
    """
    done = PurePosixPath()
    for part in PurePosixPath(path).parts:
        done /= as_found([part], list_names(str(done)))[0]
    return str(done)


def _only(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ""
