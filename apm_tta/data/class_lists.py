"""Class lists that packages of the field carry; nothing is retyped here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from apm_tta.registry import Registry


@dataclass(frozen=True)
class ClassList:
    """Classes in label order.

    Attributes:
        names: as they stand in prompts.
        folders: as they stand in the tree.
    """

    names: tuple[str, ...]
    folders: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)


CLASS_LISTS: Registry[Callable[[], ClassList]] = Registry("class list")


@CLASS_LISTS.register("imagenet-1k")
def imagenet_1k() -> ClassList:
    """ImageNet's 1000 classes: CLIP's curated names (open_clip's list) and synsets in label order (timm's list)."""
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES
    from timm.data import ImageNetInfo

    return ClassList(tuple(IMAGENET_CLASSNAMES), tuple(ImageNetInfo().label_names()))
