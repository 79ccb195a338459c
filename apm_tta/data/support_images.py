"""Labelled images for class prototypes and nearest neighbours; never test images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import overload

from PIL import Image

from apm_tta.data.dataset import Dataset, pixel_digest
from apm_tta.data.files import is_root, read_whole, size_of
from apm_tta.data.image_files import UnreadImage
from apm_tta.data.layouts import Entry
from apm_tta.data.layouts.class_folders import folder_problems, list_tree, walk_classes
from apm_tta.data.layouts.images import read_image, read_stored
from apm_tta.data.normal_forms import as_found
from apm_tta.data.subset import shots_per_class
from apm_tta.data.twins import Twins
from apm_tta.errors import UserError
from apm_tta.wording import first_few, pluralise


class SupportImages(Sequence[tuple[Image.Image, int]]):
    """A support set: ``shots`` images of every class of a data set, from a folder with one folder per class.

    The class folders are named like the data set's own, or like its classes; others, such as the 800 of ImageNet's that
    are no classes of ImageNet-A, are not used, which ``Dataset.doubts`` states. The images taken from a class are those
    whose id (the path below ``root``) has the lowest SHA-256.

    No image that is handed out can be tested from then on: iterating registers the pixels of each image with the data
    set before the caller gets it, and the data set refuses to read the same pixels (``Dataset.exclude_support``).
    Iterate over all of them before the data set is copied to other processes.

    Args:
        root: folder of the class folders, such as ImageNet's training folder.
        dataset: determines the classes and their order, and the images that must not be in the support set.
        shots: images per class.

    Raises:
        UserError: when a class folder is missing or has too few images; when ``root`` contains a test file under any
            name.
    """

    def __init__(self, root: Path, dataset: Dataset, shots: int) -> None:
        if not is_root(root):
            raise UserError(f"--support {root} is not a folder; give one with a folder of labelled images per class")
        self._root = root
        self._dataset = dataset
        self._contents: dict[str, str] = {}
        self._doubts: list[str] = []
        self.entries: Sequence[Entry] = shots_per_class(self._find_entries(), shots)
        self._refuse_tested_files()
        dataset.doubt_support(self._doubts)

    def __iter__(self) -> Iterator[tuple[Image.Image, int]]:
        """Decode the images in the order of ``entries``, and yield each with its label; then doubt twins among them.

        Raises:
            UnreadImage: when a file cannot be read.
            UserError: when a file has changed since it was last read.
        """
        twins = Twins()
        for entry in self.entries:
            image, digest = self._read(entry)
            twins.add(digest, entry)
            yield image, entry.label
        self._dataset.doubt_support([f"--support {self._root}: {doubt}" for doubt in twins.doubts()])

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, index: int) -> tuple[Image.Image, int]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[Image.Image, int]]: ...
    def __getitem__(self, index: int | slice) -> tuple[Image.Image, int] | list[tuple[Image.Image, int]]:
        if isinstance(index, slice):
            return [(self._read(entry)[0], entry.label) for entry in self.entries[index]]
        entry = self.entries[index]
        return self._read(entry)[0], entry.label

    @property
    def fingerprint(self) -> str:
        """SHA-256 over ids, labels and contents; files that were already decoded are not read again."""
        digest = hashlib.sha256()
        for entry in self.entries:
            if entry.id not in self._contents:
                self._contents[entry.id] = read_stored(self._root / entry.id).sha256
            digest.update(f"{entry.id}\t{entry.label}\t{self._contents[entry.id]}\n".encode())
        return digest.hexdigest()

    def _read(self, entry: Entry) -> tuple[Image.Image, str]:
        """Decode an image, and keep it from being tested; return it with the digest of its pixels."""
        found = read_image(self._root / entry.id, self._dataset.layout.reading)
        if self._contents.setdefault(entry.id, found.sha256) != found.sha256:
            raise UserError(f"--support {self._root}: {entry.id} has changed since it was read; start again")
        digest = pixel_digest(found.image)
        self._dataset.exclude_support({digest: entry.id}, self._root)
        return found.image, digest

    def _find_entries(self) -> Sequence[Entry]:
        classes, found = self._dataset.layout.class_list(), list_tree(self._root)[0]
        folders, names = as_found(classes.folders, found), as_found(classes.names, found)
        expected = folders if set(folders) & set(found) else names
        if twice := next((name for name in expected if expected.count(name) > 1), None):
            use = f"name its folders as in {classes.folders[0]}"
            raise UserError(f"--support {self._root}: two classes are named {twice}; {use}")
        surplus = sorted(set(found) - set(expected))
        if problems := folder_problems(self._root, expected, [name for name in found if name not in surplus]):
            raise UserError("; ".join(problems))
        survey = walk_classes(self._root, [(self._root / name, label) for label, name in enumerate(expected)])
        if survey.problems:
            raise UserError("; ".join(survey.problems))
        survey.unused.add_passed_over(self._root)
        unused = survey.unused.line(self._root)
        self._doubts += [f"--support: {unused}"] if unused else []
        if surplus:
            number = pluralise(len(surplus), "folder is no class", "folders are no classes")
            of_what = f"of {self._dataset.card.name} and not used"
            self._doubts.append(f"--support {self._root}: {number} {of_what} ({first_few(surplus)})")
        return survey.entries

    def _refuse_tested_files(self) -> None:
        """Compare files of equal size up front, whatever their names; what this misses is refused when it is read."""
        dataset = self._dataset
        if dataset.layout.carried:
            return
        own, tested = self._root.resolve(), dataset.layout.place.resolve()
        if own == tested or own.is_relative_to(tested) or tested.is_relative_to(own):
            raise UserError(
                f"--support {self._root} and the test images below {tested} share a folder; keep them apart"
            )
        condition = dataset.layout.conditions()[0]
        by_size: dict[int, list[Path]] = {}
        for path in dataset.layout.files(condition, dataset.entries(condition)):
            with suppress(OSError):  # what cannot be reached now is compared when it is read
                by_size.setdefault(size_of(path), []).append(path)
        for entry in self.entries:
            path = self._root / entry.id
            size = _size_of(path)
            others = [] if size is None else by_size.get(size, [])
            stored = read_stored(path).content if others else b""
            for other in others:
                if _same(other, stored):
                    raise UserError(f"--support {self._root} contains a test image: {entry.id} is {other}; remove it")


def _size_of(path: Path) -> int | None:
    try:
        return size_of(path)
    except OSError:
        return None


def _same(path: Path, content: bytes) -> bool:
    try:
        return read_whole(path) == content
    except UnreadImage:
        return False
