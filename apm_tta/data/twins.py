"""Pictures that are in two classes at once, of which one answer is wrong whatever it is."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from apm_tta.data.files import identity_of
from apm_tta.data.layouts import Entry, Layout
from apm_tta.wording import pluralise


class Twins:
    """Collects images by what they are, and names those that are in two classes."""

    def __init__(self) -> None:
        self._first: dict[Hashable, Entry] = {}
        self._pairs: list[tuple[str, str]] = []

    def add(self, key: Hashable, entry: Entry) -> None:
        """Add an image; images of one ``key`` are one picture."""
        other = self._first.setdefault(key, entry)
        if other.label != entry.label:
            self._pairs.append((other.id, entry.id))

    def doubts(self) -> list[str]:
        """State in one line how many pictures are in two classes, with the first; nothing for none."""
        if not self._pairs:
            return []
        one, other = self._pairs[0]
        number = pluralise(len(self._pairs), "picture is", "pictures are")
        return [f"{number} in two classes, such as {one} and {other}"]


def linked_twins(layout: Layout[Any], entries: Sequence[Entry]) -> list[str]:
    """Name files that are in two classes by a link of either kind; none is opened, and copies are not seen."""
    twins = Twins()
    for entry in entries:
        path = layout.file_of(entry.id)
        if path is None:
            return []
        try:
            twins.add(identity_of(path), entry)
        except OSError:
            continue
    return twins.doubts()
