"""The BibTeX of what a run used: entries lie beside what they cite, in a ``papers.bib`` each.

An entry states what it is of: the number in its ``eprint`` or ``url`` is the ``paper`` of a method, ``teachers`` and
``sets`` have patterns of names. The two are left out of what is printed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from apm_tta.data.corruptions.revisions import C_BAR
from apm_tta.errors import UserError
from apm_tta.harness.storage.manifest import Manifest
from apm_tta.method_rows import method_of
from apm_tta.methods import METHODS
from apm_tta.resources import DATASETS
from apm_tta.teachers import parse_teacher_name
from apm_tta.teachers.embedded import FOLDERS

_PACKAGE = Path(__file__).parents[1]
_ENTRY = re.compile(r"^@\w+\{([^,\s]+),\n.*?^\}\n", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^  (\w+) = \{(.*)\},\n", re.MULTILINE)
_LINKS = ("teachers", "sets")

MADE = "corruptions"
"""Stands among the sets of an entry for the corruptions that are made as images are read."""


@dataclass(frozen=True)
class Entry:
    """One entry of BibTeX.

    Attributes:
        key: by which a text cites it.
        fields: by name, as they are written.
        text: as it is printed.
    """

    key: str
    fields: dict[str, str]
    text: str

    def is_of(self, link: str, name: str) -> bool:
        """Return whether one of the patterns in the field ``link`` is of that name."""
        return any(fnmatchcase(name, pattern) for pattern in self.fields.get(link, "").split())


@cache
def read_entries(path: Path) -> tuple[Entry, ...]:
    """Read a ``papers.bib``: an entry begins and ends at the beginning of a line, and has a field a line."""
    found = []
    for match in _ENTRY.finditer(path.read_text(encoding="utf-8")):
        text = _FIELD.sub(lambda field: "" if field[1] in _LINKS else field[0], match[0])
        found.append(Entry(match[1], dict(_FIELD.findall(match[0])), text))
    return tuple(found)


def of_method(name: str) -> list[Entry]:
    """Return the entry of the paper that a method states; one made of its number where none lies here.

    Raises:
        UnknownName: where no such method is installed.
    """
    paper = METHODS.get(name).paper
    kind, _, number = paper.partition(" ")
    if kind not in ("arXiv", "OpenReview") or not number:
        return []
    entries = read_entries(_PACKAGE / "methods" / "papers.bib")
    found = [entry for entry in entries if number in (entry.fields.get("eprint"), _forum(entry))]
    return found or [_made(name, kind, number)]


def of_dataset(name: str) -> list[Entry]:
    """Return the entries of a data set, or of ``MADE``."""
    return [entry for entry in read_entries(DATASETS / "papers.bib") if entry.is_of("sets", name)]


def of_teacher(name: str) -> list[Entry]:
    """Return the entries of a teacher: of its library, and of its weights where an entry has their name."""
    if name in FOLDERS:
        return []
    try:
        family = parse_teacher_name(name).family
    except UserError:  # a network that was given from Python, or weights of a library that is another now
        family = ""
    entries = read_entries(_PACKAGE / "teachers" / "papers.bib")
    return [entry for entry in entries if entry.is_of("teachers", name) or entry.is_of("teachers", family)]


def cite(manifest: Manifest) -> str:
    """Return the BibTeX of this program, and of the methods, data sets and the teacher of a run, each entry once.

    What has no entry is named in a line before them.
    """
    without: list[str] = []
    (program,) = read_entries(_PACKAGE / "papers.bib")
    version = f"  version = {{{manifest.numbers.versions['apm-tta']}}},\n}}\n"
    found = {program.key: replace(program, text=program.text.removesuffix("}\n") + version)}
    for what, entries in _used(manifest):
        if not entries:
            without.append(f"% {what}")
        found |= {entry.key: entry for entry in entries}
    head = ["% Without an entry; see where each comes from:", *without, ""] if without else []
    return "\n".join([*head, *(entry.text for entry in found.values())]).rstrip("\n")


def _used(manifest: Manifest) -> Iterator[tuple[str, list[Entry]]]:
    numbers = manifest.numbers
    for name in dict.fromkeys(map(method_of, numbers.methods)):
        try:
            yield f"method {name}", of_method(name)
        except UserError:
            yield f"method {name}, which is not installed here", []
    sets = [numbers.dataset.name, *([numbers.foreign.name] if numbers.foreign else [])]
    for name in sets:
        yield f"data set {name}", of_dataset(name)
    made = {*numbers.revisions.corruptions}  # families of those alone that were made as images were read
    if made - {C_BAR}:
        yield MADE, of_dataset(MADE)
    if C_BAR in made:
        yield f"{MADE} of ImageNet-C-bar", of_dataset("imagenet-c-bar")
    if numbers.teacher.name not in FOLDERS:
        yield f"teacher {numbers.teacher.name}", of_teacher(numbers.teacher.name)


def _forum(entry: Entry) -> str:
    return entry.fields.get("url", "").rpartition("?id=")[2]


def _made(name: str, kind: str, number: str) -> Entry:
    """Make an entry of a paper that only a method of another package states."""
    lines = [f"@misc{{{name},", f"  title = {{The paper of method {name}}},"]
    if kind == "arXiv":
        lines += [f"  eprint = {{{number}}},", "  archiveprefix = {arXiv},"]
    else:
        lines += [f"  url = {{https://openreview.net/forum?id={number}}},"]
    return Entry(name, {}, "\n".join([*lines, "}\n"]))
