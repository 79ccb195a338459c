"""Which files of a folder are the parts of one split of a data set, told by their names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from apm_tta.data.files import list_folder, looking_into
from apm_tta.errors import UserError
from apm_tta.wording import first_few, pluralise

_SPLITS = {"train": "train", "test": "test", "validation": "validation", "val": "validation", "valid": "validation"}
"""Names of splits, and what each is called here."""

_FOLDERS = ("", "data", "default", "plain_text")
"""Below these, Hugging Face puts a set's files; the empty one is the set's own."""

_OF = re.compile(r"(?P<series>.+?)-(?P<number>\d{5})-of-(?P<total>\d{5})(-[0-9a-f]{8,})?")
_NUMBERED = re.compile(r"(?P<series>.*?)[-_.]?(?P<number>\d+)")
_WORDS = re.compile(r"[^0-9a-z]+")


@dataclass(frozen=True)
class Part:
    """One of the files that a split consists of.

    Attributes:
        path: of the file.
        split: what its name, or else that of its folder, says; empty for nothing.
        series: its name without its number.
        number: that it has among them; None for none.
        total: how many there are, where the name says so.
    """

    path: Path
    split: str
    series: str
    number: int | None = None
    total: int | None = None


@dataclass
class Parts:
    """The files of the chosen split, in their order; and why they cannot be used."""

    files: list[Path] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def find_parts(place: Path, suffix: str) -> list[Part]:
    """Find the files with that suffix: in ``place``, or in folders that are named like a split or as on Hugging Face.

    The first of these that has any counts.
    """
    for below in _FOLDERS:
        folder = place / below
        if below and not folder.is_dir():
            continue
        folders, files = _listing(folder)
        found = [_part(folder / name, suffix, "") for name in files if _is_part(name, suffix)]
        for name in folders:
            if split := _SPLITS.get(name.lower()):
                inner = _listing(folder / name)[1]
                found += [_part(folder / name / each, suffix, split) for each in inner if _is_part(each, suffix)]
        if found:
            return found
    return []


def choose_parts(place: Path, parts: Sequence[Part], wanted: Sequence[str], any_split: bool) -> Parts:
    """Choose the files of the split that is wanted, and see that none of them is missing.

    Args:
        place: where they lie, for messages.
        parts: all that there are.
        wanted: names of splits, the preferred first.
        any_split: whether any other will do where there is only one.
    """
    splits = sorted({part.split for part in parts})
    chosen = next((split for split in wanted if split in splits), None)
    if chosen is None and (splits == [""] or (any_split and len(splits) == 1)):
        chosen = splits[0]
    if chosen is None:
        there = first_few([split or "one without a name" for split in splits])
        return Parts(problems=[f"{place} has the split {there}; expected {' or '.join(wanted)}"])
    files = [part for part in parts if part.split == chosen]
    if len(series := sorted({part.series for part in files})) > 1:
        return Parts(problems=[f"{place} has files of several sets or splits: {first_few(series)}; keep them apart"])
    ordered = sorted(files, key=lambda part: (-1 if part.number is None else part.number, part.path.name))
    return Parts([part.path for part in ordered], _gaps(place, ordered))


def is_split(name: str) -> bool:
    """Return whether a folder is named like a split."""
    return name.lower() in _SPLITS


def _gaps(place: Path, parts: Sequence[Part]) -> list[str]:
    numbers = [part.number for part in parts if part.number is not None]
    if not numbers:
        return []
    if len(set(numbers)) < len(numbers):
        twice = [part.path.name for part in parts if numbers.count(part.number or 0) > 1]
        return [f"{place} has two files of one number: {first_few(twice)}; keep one of them"]
    totals = {part.total for part in parts if part.total is not None}
    first = 1 if min(numbers) == 1 and not totals else 0
    last = max([first + max(totals, default=0) - 1, *numbers])
    missing = sorted(set(range(first, last + 1)) - set(numbers))
    if not missing:
        return []
    number = pluralise(len(missing), "file")
    return [
        f"{parts[0].path.parent} lacks {number} of {last + 1 - first}, by number: {first_few([*map(str, missing)])}"
    ]


def _listing(folder: Path) -> tuple[list[str], list[str]]:
    try:
        with looking_into("none"):
            folders, files, _ = list_folder(folder)
    except UserError:  # of a folder that cannot be read
        return [], []
    return folders, files


def _is_part(name: str, suffix: str) -> bool:
    return name.lower().endswith(suffix)


def _part(path: Path, suffix: str, split: str) -> Part:
    stem = path.name[: -len(suffix)]
    if found := _OF.fullmatch(stem):
        series, number, total = found["series"], int(found["number"]), int(found["total"])
        return Part(path, _split_in(series) or split, series, number, total)
    if found := _NUMBERED.fullmatch(stem):
        return Part(path, _split_in(found["series"]) or split, found["series"], int(found["number"]))
    return Part(path, _split_in(stem) or split, stem)


def _split_in(name: str) -> str:
    found = {_SPLITS[word] for word in _WORDS.split(name.lower()) if word in _SPLITS}
    return found.pop() if len(found) == 1 else ""
