"""Class lists taken from established packages; nothing is retyped here."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from apm_tta.errors import UserError
from apm_tta.registry import Registry


@dataclass(frozen=True)
class ClassList:
    """Classes in label order.

    Attributes:
        names: as used in prompts.
        folders: folder names in the tree.
        imagenet_rows: row of each class in ImageNet-1k, 0 .. 999; None for classes that are not ImageNet's.
    """

    names: tuple[str, ...]
    folders: tuple[str, ...]
    imagenet_rows: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.names)


CLASS_LISTS: Registry[Callable[[], ClassList]] = Registry("class list")


@CLASS_LISTS.register("imagenet-1k")
@cache
def imagenet_1k() -> ClassList:
    """Return ImageNet's 1000 classes: CLIP's curated names (open_clip's list) and synsets in label order (timm's)."""
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES
    from timm.data import ImageNetInfo

    return ClassList(tuple(IMAGENET_CLASSNAMES), tuple(ImageNetInfo().label_names()), tuple(range(1000)))


@CLASS_LISTS.register("imagenet-a")
@cache
def imagenet_a() -> ClassList:
    """Return the 200 ImageNet classes in ImageNet-A, in the order of their rows."""
    return _part_of_imagenet("imagenet_a_indices.txt")


@CLASS_LISTS.register("imagenet-r")
@cache
def imagenet_r() -> ClassList:
    """Return the 200 ImageNet classes in ImageNet-R, in the order of their rows."""
    return _part_of_imagenet("imagenet_r_indices.txt")


def listed_classes(listed: Sequence[str] | Mapping[str, str]) -> ClassList:
    """Return classes that a card writes out: folders, or folders with the name of each.

    One of ImageNet's synsets stands for CLIP's name of that class. In any other name underscores are spaces.
    """
    folders = tuple(listed)
    names = tuple(listed.values()) if isinstance(listed, Mapping) else folders
    if not _looks_like_synset(names[0]):
        return ClassList(tuple(name.replace("_", " ") for name in names), folders)
    whole = imagenet_1k()
    row_of = {synset: row for row, synset in enumerate(whole.folders)}
    if unknown := [name for name in names if name not in row_of]:
        raise UserError(f"{unknown[0]} is not one of ImageNet's 1000 synsets; correct the card")
    rows = tuple(row_of[name] for name in names)
    return ClassList(tuple(whole.names[row] for row in rows), folders, rows)


def _looks_like_synset(name: str) -> bool:
    return len(name) == 9 and name[0] == "n" and name[1:].isdecimal()


def _part_of_imagenet(indices_file: str) -> ClassList:
    """Return the classes whose rows one of timm's files lists, one per line."""
    data = pkgutil.get_data("timm.data", f"_info/{indices_file}")
    assert data is not None
    rows = tuple(sorted(int(line) for line in data.decode().split()))
    whole = imagenet_1k()
    return ClassList(tuple(whole.names[row] for row in rows), tuple(whole.folders[row] for row in rows), rows)
