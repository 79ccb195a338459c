"""Labelled images that class prototypes and nearest neighbours are made of; never images that are tested."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from apm_tta.data.dataset import Dataset
from apm_tta.data.layouts import Entry
from apm_tta.data.layouts.class_folders import folder_problems, walk_classes
from apm_tta.data.layouts.images import listing, read_image
from apm_tta.data.subset import shots_per_class
from apm_tta.errors import UserError


class SupportImages:
    """``shots`` images of every class of a data set, from a folder with one folder a class.

    The folders are named as the data set's own, or as its classes. Of each class those images are taken whose id (the
    path below ``root``) has the lowest SHA-256.

    Args:
        root: such as ImageNet's training folder.
        dataset: which classes, in which order; and the images that must not be among these.
        shots: images a class.

    Raises:
        UserError: when a class folder is missing or has too few images; when ``root`` holds images that are tested.
    """

    def __init__(self, root: Path, dataset: Dataset, shots: int) -> None:
        if not root.is_dir():
            raise UserError(f"--support {root} is no folder; give one with a folder of labelled images for each class")
        self._root = root
        self.entries: Sequence[Entry] = shots_per_class(self._find(dataset), shots)
        self._refuse_tested(dataset)

    def __iter__(self) -> Iterator[tuple[Image.Image, int]]:
        for entry in self.entries:
            yield read_image(self._root / entry.id), entry.label

    @property
    def fingerprint(self) -> str:
        """SHA-256 over ids, labels and contents."""
        digest = hashlib.sha256()
        for entry in self.entries:
            content = hashlib.sha256((self._root / entry.id).read_bytes()).hexdigest()
            digest.update(f"{entry.id}\t{entry.label}\t{content}\n".encode())
        return digest.hexdigest()

    def _find(self, dataset: Dataset) -> Sequence[Entry]:
        classes, found = dataset.layout.class_list(), listing(self._root)[0]
        expected = classes.folders if set(classes.folders) & set(found) else classes.names
        if problems := folder_problems(self._root, expected, found):
            raise UserError("; ".join(problems))
        survey = walk_classes(self._root, [(self._root / name, label) for label, name in enumerate(expected)])
        if survey.problems:
            raise UserError("; ".join(survey.problems))
        return survey.entries

    def _refuse_tested(self, dataset: Dataset) -> None:
        """Files of equal name and length are compared: the tested images are not all opened."""
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
