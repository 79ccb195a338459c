"""Which row of a checkpoint's head belongs to which class."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from apm_tta.data.imagenet_classes import imagenet_rows, imagenet_terms
from apm_tta.errors import UserError
from apm_tta.wording import pluralise

_IMAGENET_CLASSES = 1000
_MAX_NAMED = 5


@dataclass(frozen=True)
class HeadLabels:
    """The classes of a head's rows, as far as its checkpoint states them.

    Attributes:
        count: number of rows.
        names: of the rows by their number; empty where nothing states them.
        descriptions: by name, where the checkpoint describes its names.
    """

    count: int
    names: Mapping[int, str]
    descriptions: Mapping[str, str]

    @staticmethod
    def of(
        count: int, names: Sequence[str] | Mapping[int, str] | None, descriptions: Mapping[str, str] | None
    ) -> HeadLabels:
        """Read the labels of a configuration. Placeholders, which timm wrote as ``LABEL_7``, state nothing.

        Raises:
            UserError: when there are not as many as rows. Exit code 2.
        """
        listed = dict(names) if isinstance(names, Mapping) else dict(enumerate(names or ()))
        if all(name == f"LABEL_{row}" for row, name in listed.items()):
            listed = {}
        if listed and (max(listed) >= count or (len(listed) != count and not isinstance(names, Mapping))):
            labels, classes = pluralise(len(listed), "label"), pluralise(count, "class", "classes")
            raise UserError(f"the checkpoint names {labels} for a head of {classes}", exit_code=2)
        return HeadLabels(count, listed, descriptions or {})

    @property
    def identity(self) -> str:
        """What is stated of them, for a teacher's identity."""
        if not self.names:
            return "not stated: ImageNet's in the order of its synsets"
        content = json.dumps([sorted(self.names.items()), sorted(self.descriptions.items())])
        return f"stated: {len(self.names)} labels, sha256 {hashlib.sha256(content.encode()).hexdigest()}"

    def rows(self, name: str, classes: Sequence[str], advice: str) -> list[int]:
        """Return the row of every class: the one whose label or description is its name, or its synset in ImageNet.

        Where no labels are stated, a head of 1000 classes has ImageNet's in their order.

        Args:
            name: the teacher's.
            classes: names in label order.
            advice: what to do where there are no such rows, for the message.

        Raises:
            UserError: when the head has no row for some class, or several. Exit code 2.
        """
        if not self.names:
            known = imagenet_rows(classes)
            if known is not None and self.count == _IMAGENET_CLASSES:
                return list(known)
            own = "ImageNet's 1000" if self.count == _IMAGENET_CLASSES else str(self.count)
            raise UserError(f"the head of teacher {name} has {own} classes, not these {len(classes)}; {advice}", 2)
        if [_plain(self.names.get(row, "")) for row in range(self.count)] == [_plain(name) for name in classes]:
            return list(range(self.count))  # by place, though two may share a name
        described = {row: self.descriptions.get(label, label) for row, label in self.names.items()}
        # ImageNet's classes go by several names; two of them share one, so that their synsets tell them apart.
        indices = [_index(labels) for labels in (self.names, described)]
        terms = [classes, *imagenet_terms(classes)]
        attempts = [[index.get(_plain(term)) for term in each] for index in indices for each in terms]
        for found in attempts:
            rows = [row for row in found if row is not None]
            if len(rows) == len(set(rows)) == len(classes):
                return rows
        best = max(attempts, key=lambda found: len({row for row in found if row is not None}))
        lacking = next(name for name, row in zip(classes, best, strict=True) if row is None or best.count(row) > 1)
        some = ", ".join(list(self.names.values())[:_MAX_NAMED]) + (", ..." if len(self.names) > _MAX_NAMED else "")
        raise UserError(
            f"the head of teacher {name} has no row of its own for class {lacking!r}; its {len(self.names)} labels are "
            f"{some}; {advice}",
            exit_code=2,
        )


def _index(labels: Mapping[int, str]) -> dict[str, int | None]:
    """Return rows by label; None for a label that several rows have."""
    index: dict[str, int | None] = {}
    for row, label in labels.items():
        key = _plain(label)
        index[key] = None if key in index else row
    return index


def _plain(label: str) -> str:
    """Return a label as it is compared: folder names have underscores for blanks, and capitals differ."""
    return " ".join(label.replace("_", " ").casefold().split())
