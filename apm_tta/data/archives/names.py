"""Which files are archives, and what a member's name has to be for the member to be read."""

from __future__ import annotations

import re

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".zip")
"""What the name of an archive ends in, in upper or lower case; which of them it is, its first bytes say."""

_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


def is_archive_name(name: str) -> bool:
    """Return whether a file is taken for an archive that is read as it lies; a hidden one is not."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")


def stem(name: str) -> str:
    """Return an archive's name without its suffix, which is what most folders unpacked from it are called."""
    found = next((suffix for suffix in sorted(SUFFIXES, key=len, reverse=True) if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(found)]


def several(kind: str) -> str:
    """Return what more than one of a refused kind are called: ``paths that lead out of it``."""
    plural = re.sub(r"\b(path|name|link|device|pipe|file)\b", r"\1s", kind, count=2 if " or " in kind else 1)
    return plural.replace(" that leads ", " that lead ").replace(" that is ", " that are ")


class RefusedName(ValueError):
    """A member's name for which nothing is read; the message is what such a member is called, see ``REFUSED``."""


def clean_name(name: str) -> str:
    """Return a member's name as a path below where the archive lies; empty for that folder itself.

    Raises:
        RefusedName: when it leads elsewhere, or is no text.
    """
    if name.startswith("/") or _DRIVE.match(name):
        raise RefusedName("absolute path")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise RefusedName("path that leads out of it")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise RefusedName("name that is no text in UTF-8") from None
    return "/".join(parts)
