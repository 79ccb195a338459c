"""Images that have no label here: one file, one image of a set that the package carries, or a whole folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image

from apm_tta.data.cards import load_card
from apm_tta.data.dataset import Dataset
from apm_tta.data.layouts import LAYOUTS, Entry
from apm_tta.data.layouts.images import is_image_name, listing, read_image
from apm_tta.data.sample import CLEAN
from apm_tta.errors import UserError
from apm_tta.resources import DATASETS, yaml_names


@dataclass(frozen=True)
class Unlabelled:
    """One image.

    Attributes:
        id: the path below the folder that was named, or the id in its set: stable across machines.
        read: decodes it, RGB; raises ``DamagedImage`` where that cannot be done.
    """

    id: str
    read: Callable[[], Image.Image]


def one_image(name: str) -> Unlabelled:
    """The image file ``name``, or ``SET:ID`` of a carried set, such as ``fashion-mnist:test/00000``.

    Raises:
        UserError: when there is neither; an image that is there and cannot be read is refused when it is read.
    """
    path = Path(name)
    if path.is_file():
        return Unlabelled(path.name, partial(_read_file, path))
    if path.is_dir():
        raise UserError(f"{name} is a folder; name one image file")
    kind, colon, sample_id = name.partition(":")
    if colon and kind in _carried():
        found = {image.id: image for image in _of_set(kind)}
        if sample_id not in found:
            raise UserError(
                f"{kind} has no image {sample_id!r}; there are: {next(iter(found))} and {len(found) - 1} more"
            )
        return found[sample_id]
    raise UserError(f"there is no image file {name}; an image of the package is called {_carried()[0]}:ID")


def all_images(name: str) -> list[Unlabelled]:
    """Every image in the folder ``name`` and in the folders below it, sorted by path; or of a carried set.

    Raises:
        UserError: when there is no such folder, no image in it, or a link in it that leads in a circle.
    """
    folder = Path(name)
    if folder.is_dir():
        found = _below(folder, folder)
        if not found:
            raise UserError(f"{name} holds no image (by its suffix), nor does any folder below it")
        return found
    if name in _carried():
        return _of_set(name)
    raise UserError(f"there is no folder {name}; the package carries: {', '.join(_carried())}")


def by_digest(images: Sequence[Unlabelled]) -> list[Unlabelled]:
    """In the order of the SHA-256 of their ids: the first so many are the same draw whoever makes it."""
    return sorted(images, key=lambda image: hashlib.sha256(image.id.encode()).hexdigest())


def is_collection(name: str) -> bool:
    """Whether ``name`` is a folder or a carried set, and so many images."""
    return Path(name).is_dir() or name in _carried()


def _below(folder: Path, root: Path) -> list[Unlabelled]:
    folders, files, circles = listing(folder)
    if circles:
        raise UserError(f"{folder} has a symbolic link that leads in a circle or to nothing: {circles[0]}; remove it")
    own = [folder / name for name in files if is_image_name(name)]
    found = [Unlabelled(path.relative_to(root).as_posix(), partial(_read_file, path)) for path in own]
    return found + [image for name in folders for image in _below(folder / name, root)]


def _carried() -> list[str]:
    """Names of the sets whose images are part of the package."""
    return [name for name in yaml_names(DATASETS) if LAYOUTS.get(load_card(name).layout).carried]


def _of_set(name: str) -> list[Unlabelled]:
    dataset = Dataset(load_card(name))
    return [Unlabelled(entry.id, partial(_read_entry, dataset, entry)) for entry in dataset.entries(CLEAN)]


def _read_file(path: Path) -> Image.Image:
    return read_image(path).image


def _read_entry(dataset: Dataset, entry: Entry) -> Image.Image:
    return dataset.read(entry, CLEAN).image
