"""A data set that can be read: card, layout, conditions, subset."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from apm_tta.data.cards import DatasetCard, load_card
from apm_tta.data.corruptions import CORRUPTIONS, corrupt
from apm_tta.data.layouts import LAYOUTS, Entry
from apm_tta.data.sample import CLEAN, Condition, Sample
from apm_tta.data.subset import even_subset
from apm_tta.errors import UnknownName, UserError
from apm_tta.randomness import numpy_generator

# A corrupted set is data, as if it lay on disk: the run's seed does not change it.
CORRUPTION_SEED = 0


class Dataset:
    """The images of one card below one root.

    Args:
        card: what it is.
        root: where it lies; None for what the package carries.
        limit: images under each condition, evenly over the classes; 0 for all.

    Raises:
        UserError: when the card and its layout disagree on whether corrupted images lie on disk.
    """

    def __init__(self, card: DatasetCard, root: Path | None = None, limit: int = 0) -> None:
        self.card = card
        self.limit = limit
        self._layout = LAYOUTS.get(card.layout)(card, root)
        if self._layout.stores_corruptions != bool(card.stored_corruptions):
            needs = "needs stored_corruptions" if self._layout.stores_corruptions else "stores no corruptions"
            raise UserError(f"card {card.name}: layout {card.layout} {needs}; correct the card")
        self._chosen: dict[Condition, Sequence[Entry]] = {}

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in label order."""
        return self.card.class_list.names

    @property
    def corruptions(self) -> list[str]:
        """Names of the corruptions that these images can be had under."""
        return list(self.card.stored_corruptions) or CORRUPTIONS.names()

    def check_conditions(self, conditions: Sequence[Condition]) -> None:
        """Refuses a corruption that does not exist for these images, before anything is read.

        Raises:
            UnknownName: listing those that exist.
        """
        for condition in conditions:
            if condition != CLEAN and condition.corruption not in self.corruptions:
                raise UnknownName(f"corruption of {self.card.name}", condition.corruption, self.corruptions)

    def entries(self, condition: Condition) -> Sequence[Entry]:
        """The chosen images under ``condition``, checked against the card.

        Raises:
            UserError: when the tree is not what the card says.
        """
        if condition not in self._chosen:
            self.check_conditions([condition])
            self._chosen[condition] = even_subset(self._layout.entries(condition), self.limit)
        return self._chosen[condition]

    def read(self, entry: Entry, condition: Condition) -> Sample:
        """One image under ``condition``; the same in every run, order and worker.

        Raises:
            UserError: when the file is damaged.
        """
        return Sample(entry.id, self._image(entry, condition), entry.label)

    def fingerprint(self, conditions: Sequence[Condition]) -> str:
        """SHA-256 over the ids and labels of the chosen images under all ``conditions``."""
        digest = hashlib.sha256()
        for condition in conditions:
            digest.update(f"{condition}\n".encode())
            for entry in self.entries(condition):
                digest.update(f"{entry.id}\t{entry.label}\n".encode())
        return digest.hexdigest()

    def _image(self, entry: Entry, condition: Condition) -> Image.Image:
        image = self._layout.read(entry.id)
        if condition.clean or self._layout.stores_corruptions:
            return image
        generator = numpy_generator(CORRUPTION_SEED, entry.id, f"corruption {condition}")
        parameters = self.card.corruption_parameters
        return corrupt(image, condition.corruption, condition.severity, rng=generator, parameters=parameters)


def open_dataset(name: str, root: Path | None = None, limit: int = 0) -> Dataset:
    """The data set of that name.

    Raises:
        UnknownName: listing those that exist.
    """
    return Dataset(load_card(name), root, limit)
