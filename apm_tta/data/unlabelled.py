"""Images without labels: one file, one image of a data set that the package carries, or a whole folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image

from apm_tta.data.cards import load_card
from apm_tta.data.dataset import Dataset
from apm_tta.data.decoding import VIEWER
from apm_tta.data.layouts import LAYOUTS, Entry
from apm_tta.data.layouts.images import is_image_name, list_folder, read_image
from apm_tta.data.sample import CLEAN
from apm_tta.errors import UserError
from apm_tta.resources import DATASETS, yaml_names


@dataclass(frozen=True)
class Unlabelled:
    """One image without a label.

    Attributes:
        id: the path below the named folder, or the id in its data set: stable across machines.
        read: decodes it, RGB; raises ``DamagedImage`` when that is impossible.
    """

    id: str
    read: Callable[[], Image.Image]


def one_image(name: str) -> Unlabelled:
    """Find the image file ``name``, or image ``SET:ID`` of a carried data set, such as ``fashion-mnist:test/00000``.

    Raises:
        UserError: when neither exists; an image that exists but cannot be read is refused when it is read.
    """
    path = Path(name)
    if path.is_file():
        return Unlabelled(path.name, partial(_read_file, path))
    if path.is_dir():
        raise UserError(f"{name} is a folder; name one image file")
    kind, colon, sample_id = name.partition(":")
    if colon and kind in _carried_sets():
        found = {image.id: image for image in _images_of_set(kind)}
        if sample_id not in found:
            raise UserError(
                f"{kind} has no image {sample_id!r}; there are: {next(iter(found))} and {len(found) - 1} more"
            )
        return found[sample_id]
    raise UserError(f"there is no image file {name}; an image of the package is named {_carried_sets()[0]}:ID")


def all_images(name: str) -> list[Unlabelled]:
    """Find every image in the folder ``name`` and the folders below it, sorted by path; or those of a carried data set.

    Raises:
        UserError: when the folder does not exist, has no image, or has a circular or broken link.
    """
    folder = Path(name)
    if folder.is_dir():
        found = _images_below(folder, folder)
        if not found:
            raise UserError(f"{name} contains no image (judged by its suffix), nor does any folder below it")
        return found
    if name in _carried_sets():
        return _images_of_set(name)
    raise UserError(f"there is no folder {name}; the package carries: {', '.join(_carried_sets())}")


def by_digest(images: Sequence[Unlabelled]) -> list[Unlabelled]:
    """Sort by the SHA-256 of the ids, so that the first n images are the same random sample for everyone."""
    return sorted(images, key=lambda image: hashlib.sha256(image.id.encode()).hexdigest())


def is_collection(name: str) -> bool:
    """Return whether ``name`` is a folder or a carried data set, and therefore many images."""
    return Path(name).is_dir() or name in _carried_sets()


def _images_below(folder: Path, root: Path) -> list[Unlabelled]:
    folders, files, bad_links = list_folder(folder)
    if bad_links:
        raise UserError(f"{folder} has a circular or broken symbolic link: {bad_links[0]}; remove it")
    own = [folder / name for name in files if is_image_name(name)]
    found = [Unlabelled(path.relative_to(root).as_posix(), partial(_read_file, path)) for path in own]
    return found + [image for name in folders for image in _images_below(folder / name, root)]


def _carried_sets() -> list[str]:
    """Return the names of the data sets whose images are part of the package."""
    return [name for name in yaml_names(DATASETS) if LAYOUTS.get(load_card(name).layout).carried]


def _images_of_set(name: str) -> list[Unlabelled]:
    dataset = Dataset(load_card(name))
    return [Unlabelled(entry.id, partial(_read_entry, dataset, entry)) for entry in dataset.entries(CLEAN)]


def _read_file(path: Path) -> Image.Image:
    return read_image(path, VIEWER).image


def _read_entry(dataset: Dataset, entry: Entry) -> Image.Image:
    return dataset.read(entry, CLEAN).image
