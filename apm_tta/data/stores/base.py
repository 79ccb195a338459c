"""The base class of stores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from apm_tta.data.class_lists import ClassList
from apm_tta.data.layouts.base import Layout
from apm_tta.data.sample import CLEAN, Condition, StoredImage
from apm_tta.registry import Registry


@dataclass(frozen=True, slots=True)  # there may be millions of them
class Item:
    """One image of a store.

    Attributes:
        key: by which the store reads it, whose first part is the name of the file that it lies in.
        label: number of its class as the store states it; None where only a folder states it.
        folder: name of its class's folder as the store states it; None where only a label states it.
        name: of its file in a tree ``class folder/image``; None where the store does not hold it.
        tree_id: its id in the tree, where the store holds the whole of it.
        others: numbers of the other classes that are right too.
    """

    key: str
    label: int | None = None
    folder: str | None = None
    name: str | None = None
    tree_id: str | None = None
    others: tuple[int, ...] = ()


@dataclass
class Contents:
    """The images of a store under one condition.

    Attributes:
        items: images, in the order in which they are stored.
        problems: one line for each reason why they cannot be used.
        doubts: one line for each thing that may not be as meant.
        tree_fingerprint: of the ids and labels in the order of the tree, where that is their order here; None where
            they are to be put into it.
        class_names: what the images themselves call their labels, by label; see ``Store.classes`` for all classes.
    """

    items: list[Item] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    tree_fingerprint: str | None = None
    class_names: dict[int, str] = field(default_factory=dict)


class Store(ABC):
    """Labelled images in one form.

    Args:
        place: a folder of which ``lies_in`` is true.
        tree: the layout that would read the same images from a tree.

    Attributes:
        form: in words, in the plural.
        keys: what an id consists of where the names of files are not held.
    """

    form: str
    keys: str = "file and number"

    def __init__(self, place: Path, tree: Layout[Any]) -> None:
        self.place = place
        self.tree = tree

    @classmethod
    @abstractmethod
    def lies_in(cls, folder: Path) -> bool:
        """Return whether ``folder`` holds such a store; quick, and true of a damaged one too."""

    def problems(self) -> list[str]:
        """Say in one line each why the store as a whole cannot be used, such as another split, or a missing file."""
        return []

    @abstractmethod
    def contents(self, condition: Condition) -> Contents:
        """List the images under one condition, which is one of ``conditions``; asked where there are no ``problems``.

        Raises:
            UserError: when they cannot be listed.
        """

    @abstractmethod
    def stored(self, key: str) -> StoredImage:
        """Read the bytes of the image with this key, without decoding them.

        Raises:
            UnreadImage: when they cannot be read.
            OutOfReach: when it is the last of too many that cannot.
        """

    def file_of(self, key: str) -> Path | None:
        """Return the file that holds this image and no other; None where files hold many."""
        return None

    def folders_read(self, keys: Sequence[str]) -> Mapping[Path, Path]:
        """Return the folders with files that are the images of these keys, each with one; none for files of many."""
        return {}

    def classes(self) -> ClassList | None:
        """Return the classes in the order of the store's labels, where it names them."""
        return None

    def conditions(self) -> Sequence[Condition]:
        """Return the conditions whose images are in the store."""
        return [CLEAN]

    def checksums(self) -> Mapping[str, str]:
        """Return the digests of files below ``place`` that were stated when they were made, by name."""
        return {}

    def reading_order(self, keys: Sequence[str]) -> list[str]:
        """Return the keys in the order in which they are read fastest."""
        return list(keys)


STORES: Registry[type[Store]] = Registry("store")
