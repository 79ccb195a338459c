"""Lists of images that the literature tests: ``--subset NAME`` takes those of ``NAME.txt`` beside this file.

A line is the end of an image's id, its class folder and its name, so that a list fits ImageNet and what was made of it;
a line that begins with ``#`` states origin and licence.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from apm_tta.data.layouts import Entry
from apm_tta.errors import UnknownName, UserError
from apm_tta.wording import pluralise

_FOLDER = Path(__file__).parent


def subset_names() -> list[str]:
    """Return the names of all lists, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.txt"))


@cache
def _listed(name: str) -> frozenset[str]:
    if name not in (names := subset_names()):
        raise UnknownName("subset", name, names)
    lines = (_FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


def select_named(name: str, entries: Sequence[Entry], dataset: str) -> list[Entry]:
    """Return those entries that are in a list, in their order.

    Args:
        name: of the list.
        entries: all images under one condition.
        dataset: name of the data set, for the message.

    Raises:
        UnknownName: for an unknown list, naming those that exist.
        UserError: when the data set has not all of its images. Exit code 2.
    """
    listed = _listed(name)
    chosen = [entry for entry in entries if "/".join(entry.id.split("/")[-2:]) in listed]
    if len(chosen) != len(listed):
        has = f"which has {len(chosen):,} of its {pluralise(len(listed), 'image')}"
        raise UserError(f"subset {name} does not fit {dataset}, {has}; leave --subset out", exit_code=2)
    return chosen
