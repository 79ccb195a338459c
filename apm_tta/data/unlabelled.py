"""Images without labels: one file, one image of a data set that the package carries, or a whole folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from PIL import Image

from apm_tta.data.cards import load_card
from apm_tta.data.dataset import Dataset
from apm_tta.data.decoding import VIEWER, Reading
from apm_tta.data.files import is_archive, is_in_archive, is_root, list_folder, refuse_no_text
from apm_tta.data.files.output_folders import is_output
from apm_tta.data.image_files.names import is_image_name
from apm_tta.data.layouts import LAYOUTS, Entry
from apm_tta.data.layouts.images import read_image
from apm_tta.data.layouts.unused import Unused
from apm_tta.data.sample import CLEAN
from apm_tta.errors import UserError
from apm_tta.resources import DATASETS, yaml_names


@dataclass(frozen=True)
class Unlabelled:
    """One image without a label.

    Attributes:
        id: the path below the named folder, or the id in its data set: stable across machines.
        read: decodes it, RGB; raises ``UnreadImage`` when that is impossible.
        reading: by whose rules.
    """

    id: str
    read: Callable[[], Image.Image]
    reading: Reading


def one_image(name: str) -> Unlabelled:
    """Find the image file ``name``, or image ``SET:ID`` of a carried data set, such as ``fashion-mnist:test/00000``.

    Raises:
        UserError: when neither exists; an image that exists but cannot be read is refused when it is read.
    """
    path = Path(name)
    if (path.is_file() and not is_archive(path)) or is_in_archive(path):
        refuse_no_text(path)
        return Unlabelled(path.name, partial(_read_file, path), VIEWER)
    if is_root(path):
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
    if is_root(folder):
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
    return is_root(Path(name)) or name in _carried_sets()


def unused_files(name: str) -> str:
    """State in one line which files ``all_images`` of that folder leaves aside; empty for none or a carried set."""
    folder, unused = Path(name), Unused()
    for inner in _folders_below(folder) if is_root(folder) else []:
        start = inner.relative_to(folder).as_posix()
        unused.add_passed_over(folder, inner)
        unused.add_by_suffix(start, (file for file in list_folder(inner)[1] if not is_image_name(file)))
    return unused.line(folder)


def _images_below(folder: Path, root: Path) -> list[Unlabelled]:
    return [
        Unlabelled((inner / name).relative_to(root).as_posix(), partial(_read_file, inner / name), VIEWER)
        for inner in _folders_below(folder)
        for name in list_folder(inner)[1]
        if is_image_name(name)
    ]


def _folders_below(folder: Path) -> Iterator[Path]:
    """Find ``folder`` and every folder below it, without those that this program has written.

    Raises:
        UserError: for a circular or broken link.
    """
    folders, _, bad_links = list_folder(folder)
    if bad_links:
        raise UserError(f"{folder} has a circular or broken link, or what is no file: {bad_links[0]}; remove it")
    yield folder
    for name in folders:
        if not is_output(folder / name):
            yield from _folders_below(folder / name)


def _carried_sets() -> list[str]:
    """Return the names of the data sets whose images are part of the package."""
    return [name for name in yaml_names(DATASETS) if LAYOUTS.get(load_card(name).layout).carried]


def _images_of_set(name: str) -> list[Unlabelled]:
    dataset = Dataset(load_card(name))
    reading = dataset.layout.reading
    return [Unlabelled(entry.id, partial(_read_entry, dataset, entry), reading) for entry in dataset.entries(CLEAN)]


def _read_file(path: Path) -> Image.Image:
    return read_image(path, VIEWER).image


def _read_entry(dataset: Dataset, entry: Entry) -> Image.Image:
    return dataset.read(entry, CLEAN).image
