"""Labelled images that class prototypes and nearest neighbours are made of; never images that are tested."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from apm_tta.data.dataset import Dataset, pixel_digest
from apm_tta.data.layouts import Entry
from apm_tta.data.layouts.class_folders import folder_problems, walk_classes
from apm_tta.data.layouts.images import listing, read_image
from apm_tta.data.subset import shots_per_class
from apm_tta.errors import UserError


class SupportImages:
    """``shots`` images of every class of a data set, from a folder with one folder a class.

    The folders are named as the data set's own, or as its classes. Of each class those images are taken whose id (the
    path below ``root``) has the lowest SHA-256.

    No image that is handed out can be tested from then on: iterating tells the data set what each shows before it is
    given to the caller, and the data set refuses to read the same pixels (``Dataset.keep_apart_from``). Iterate over
    all of them before the data set is copied to other processes.

    Args:
        root: such as ImageNet's training folder.
        dataset: which classes, in which order; and the images that must not be among these.
        shots: images per class.

    Raises:
        UserError: when a class folder is missing or has too few images; when ``root`` holds files that are tested, as
            far as names and sizes tell without opening all of them.
    """

    def __init__(self, root: Path, dataset: Dataset, shots: int) -> None:
        if not root.is_dir():
            raise UserError(f"--support {root} is no folder; give one with a folder of labelled images for each class")
        self._root = root
        self._dataset = dataset
        self._contents: dict[str, str] = {}
        self.entries: Sequence[Entry] = shots_per_class(self._find(), shots)
        self._refuse_tested_files()

    def __iter__(self) -> Iterator[tuple[Image.Image, int]]:
        """Decode each image, with its label, in the order of ``entries``.

        Raises:
            DamagedImage: when a file is damaged.
            UserError: when a file is no longer what it was when it was read before.
        """
        for entry in self.entries:
            found = read_image(self._root / entry.id)
            if self._contents.setdefault(entry.id, found.sha256) != found.sha256:
                raise UserError(f"--support {self._root}: {entry.id} has changed since it was read; start again")
            self._dataset.keep_apart_from({pixel_digest(found.image): entry.id}, self._root)
            yield found.image, entry.label

    @property
    def fingerprint(self) -> str:
        """SHA-256 over ids, labels and contents; files that were decoded before are not read again."""
        digest = hashlib.sha256()
        for entry in self.entries:
            if entry.id not in self._contents:
                self._contents[entry.id] = hashlib.sha256((self._root / entry.id).read_bytes()).hexdigest()
            digest.update(f"{entry.id}\t{entry.label}\t{self._contents[entry.id]}\n".encode())
        return digest.hexdigest()

    def _find(self) -> Sequence[Entry]:
        classes, found = self._dataset.layout.class_list(), listing(self._root)[0]
        expected = classes.folders if set(classes.folders) & set(found) else classes.names
        if problems := folder_problems(self._root, expected, found):
            raise UserError("; ".join(problems))
        survey = walk_classes(self._root, [(self._root / name, label) for label, name in enumerate(expected)])
        if survey.problems:
            raise UserError("; ".join(survey.problems))
        return survey.entries

    def _refuse_tested_files(self) -> None:
        """Compare files of equal name and length, at once: what this misses is refused when it is read."""
        dataset = self._dataset
        if dataset.layout.carried:
            return
        own, tested = self._root.resolve(), dataset.layout.place.resolve()
        if own == tested or own.is_relative_to(tested) or tested.is_relative_to(own):
            raise UserError(
                f"--support {self._root} and the tested images below {tested} share a folder; keep them apart"
            )
        condition = dataset.layout.conditions()[0]
        alike: dict[tuple[str, int], list[Path]] = {}
        for path in dataset.layout.files(condition, dataset.entries(condition)):
            alike.setdefault((path.name, path.stat().st_size), []).append(path)
        for entry in self.entries:
            path = self._root / entry.id
            for other in alike.get((path.name, path.stat().st_size), []):
                if other.read_bytes() == path.read_bytes():
                    raise UserError(f"--support {self._root} holds an image that is tested: {entry.id} is {other}")
