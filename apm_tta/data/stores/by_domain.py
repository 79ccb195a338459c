"""A set of several domains whose folders each hold a store of one form, such as CCC's streams of shards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from apm_tta.data.class_lists import ClassList
from apm_tta.data.layouts import Layout
from apm_tta.data.sample import CLEAN, Condition, StoredImage
from apm_tta.data.stores.base import Contents, Store


class ByDomain(Store):
    """Stores of one form, one for each domain. A key begins with the folder of its domain.

    Args:
        place: in which the folders lie.
        tree: the layout that would read the same images from a tree.
        form: of the stores.
        folders: of the domains that are there, by domain.
    """

    def __init__(self, place: Path, tree: Layout[Any], form: type[Store], folders: Mapping[str, Path]) -> None:
        super().__init__(place, tree)
        self.form, self.keys = form.form, f"folder, {form.keys}"
        self._folders = {Condition(name): folder.name for name, folder in folders.items()}
        self._parts = {folder.name: form(folder, tree) for folder in folders.values()}

    @classmethod
    def lies_in(cls, folder: Path) -> bool:  # noqa: ARG003  the base class has it
        """Return nothing known: which folders are domains is the card's to say, see ``open_layout``."""
        return False

    def problems(self) -> list[str]:
        return [line for part in self._parts.values() for line in part.problems()]

    def contents(self, condition: Condition) -> Contents:
        folder = self._folders[condition]
        found = self._parts[folder].contents(CLEAN)
        found.items = [replace(item, key=f"{folder}/{item.key}") for item in found.items]
        return found

    def stored(self, key: str) -> StoredImage:
        part, own = self._part(key)
        return part.stored(own)

    def file_of(self, key: str) -> Path | None:
        part, own = self._part(key)
        return part.file_of(own)

    def folders_read(self, keys: Sequence[str]) -> Mapping[Path, Path]:
        found: dict[Path, Path] = {}
        for part, own in self._parted(keys):
            found.update(part.folders_read(own))
        return found

    def classes(self) -> ClassList | None:
        """Return the classes that all domains name alike; None where some name none, or others."""
        named = {part.classes() for part in self._parts.values()}
        return named.pop() if len(named) == 1 else None

    def conditions(self) -> Sequence[Condition]:
        return list(self._folders)

    def checksums(self) -> Mapping[str, str]:
        parts = self._parts.items()
        return {f"{folder}/{name}": digest for folder, part in parts for name, digest in part.checksums().items()}

    def reading_order(self, keys: Sequence[str]) -> list[str]:
        names = {part: folder for folder, part in self._parts.items()}
        ordered = ((names[part], part.reading_order(own)) for part, own in self._parted(keys))
        return [f"{folder}/{key}" for folder, own in ordered for key in own]

    def _part(self, key: str) -> tuple[Store, str]:
        folder, _, own = key.partition("/")
        return self._parts[folder], own

    def _parted(self, keys: Iterable[str]) -> list[tuple[Store, list[str]]]:
        parted: dict[str, list[str]] = {}
        for folder, _, own in (key.partition("/") for key in keys):
            parted.setdefault(folder, []).append(own)
        return [(self._parts[folder], own) for folder, own in parted.items()]
