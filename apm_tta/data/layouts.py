"""How images and labels lie on disk; a layout knows a tree's shape and nothing of any one data set."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from apm_tta.data.cards import DatasetCard
from apm_tta.data.embedded import IMAGES_FILE
from apm_tta.data.sample import Condition
from apm_tta.errors import UserError
from apm_tta.registry import Registry

_IMAGE_SUFFIXES = frozenset({".jpeg", ".jpg", ".png"})


@dataclass(frozen=True)
class Entry:
    """One image that a layout can read: its id (path below the root) and its label."""

    id: str
    label: int


class Layout(ABC):
    """Finds and reads the images of one data set.

    Attributes:
        stores_corruptions: whether the tree holds corrupted images; else they are corrupted as they are read.
    """

    stores_corruptions: ClassVar[bool] = False

    def __init__(self, card: DatasetCard, root: Path | None) -> None:
        self.card = card
        self.root = root

    @abstractmethod
    def entries(self, condition: Condition) -> Sequence[Entry]:
        """Every image under ``condition``, in a fixed order.

        Raises:
            UserError: when the tree is not what the card says.
        """

    @abstractmethod
    def read(self, sample_id: str) -> Image.Image:
        """The RGB image of that id.

        Raises:
            UserError: when it is damaged.
        """


LAYOUTS: Registry[type[Layout]] = Registry("layout")


@LAYOUTS.register("embedded")
class EmbeddedLayout(Layout):
    """The images that the package carries; see ``apm_tta.data.embedded``."""

    def __init__(self, card: DatasetCard, root: Path | None) -> None:
        super().__init__(card, root)
        if root is not None:
            raise UserError(f"{card.name} is carried by the package; leave out --data-root {root}", exit_code=2)
        with np.load(IMAGES_FILE, allow_pickle=False) as arrays:
            self._pixels, labels, positions = arrays["images"], arrays["labels"], arrays["positions"]
        self._entries = [
            Entry(f"test/{position:05d}", int(label)) for position, label in zip(positions, labels, strict=True)
        ]
        self._rows = {entry.id: row for row, entry in enumerate(self._entries)}

    def entries(self, condition: Condition) -> Sequence[Entry]:
        return self._entries

    def read(self, sample_id: str) -> Image.Image:
        return Image.fromarray(self._pixels[self._rows[sample_id]]).convert("RGB")


@LAYOUTS.register("corruption-tree")
class CorruptionTreeLayout(Layout):
    """``corruption/severity/class folder/image``, as ImageNet-C is released."""

    stores_corruptions = True

    def entries(self, condition: Condition) -> Sequence[Entry]:
        root = self._existing_root()
        if condition.clean:
            raise UserError(f"{self.card.name} holds no clean images; name at least one corruption", exit_code=2)
        folder = root / condition.corruption / str(condition.severity)
        if not folder.is_dir():
            raise UserError(f"{folder} is missing; expected {self.card.tree}; to get it: {self.card.get}")
        folders = self.card.class_list.folders
        found = {path.name for path in folder.iterdir() if path.is_dir()}
        missing, surplus = sorted(set(folders) - found), sorted(found - set(folders))
        if missing or surplus:
            raise UserError(
                f"{folder} has {len(found)} class folders, expected {len(folders)}: missing {_some(missing)}, "
                f"surplus {_some(surplus)}; is this another data set?"
            )
        entries = [
            Entry(path.relative_to(root).as_posix(), label)
            for label, name in enumerate(folders)
            for path in sorted((folder / name).iterdir())
            if path.suffix.lower() in _IMAGE_SUFFIXES
        ]
        if len(entries) != self.card.images:
            raise UserError(f"{folder} has {len(entries)} images, expected {self.card.images}; unpack it again")
        return entries

    def read(self, sample_id: str) -> Image.Image:
        path = self._existing_root() / sample_id
        try:
            return Image.open(io.BytesIO(path.read_bytes())).convert("RGB")
        except (OSError, UnidentifiedImageError, SyntaxError) as error:
            raise UserError(f"{path} is not a readable image ({error}); take it from the archive again") from None

    def _existing_root(self) -> Path:
        if self.root is None or not self.root.is_dir():
            place = "needs --data-root FOLDER" if self.root is None else f"is not at {self.root}"
            raise UserError(f"{self.card.name} {place}; expected tree: {self.card.tree}; to get it: {self.card.get}")
        return self.root


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "none"
