"""Class lists taken from established packages; nothing is retyped here."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

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


def imagenet_rows(names: Sequence[str]) -> tuple[int, ...] | None:
    """Return the ImageNet-1k rows of these class names; None when no registered list has exactly these names.

    Whole lists are compared, not names: ImageNet has two classes named missile and two named sunglasses.
    """
    for name in CLASS_LISTS.names():
        known = CLASS_LISTS.get(name)()
        if known.imagenet_rows is not None and known.names == tuple(names):
            return known.imagenet_rows
    return None


def imagenet_terms(names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return what else ImageNet's classes are called: their synsets, and WordNet's words for these.

    Args:
        names: of a whole list; see ``imagenet_rows``.

    Returns:
        Lists in the order of ``names``; none where no registered list has exactly these names.
    """
    from timm.data import ImageNetInfo

    rows, information = imagenet_rows(names), ImageNetInfo()
    if rows is None:
        return ()
    synsets = tuple(information.label_names()[row] for row in rows)
    return synsets, tuple(information.label_name_to_description(synset) for synset in synsets)


def _part_of_imagenet(indices_file: str) -> ClassList:
    """Return the classes whose rows one of timm's files lists, one per line."""
    data = pkgutil.get_data("timm.data", f"_info/{indices_file}")
    assert data is not None
    rows = tuple(sorted(int(line) for line in data.decode().split()))
    whole = imagenet_1k()
    return ClassList(tuple(whole.names[row] for row in rows), tuple(whole.folders[row] for row in rows), rows)
