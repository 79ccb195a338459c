"""An image as it was read, and the condition under which it is seen."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

from PIL import Image

SEVERITIES = (1, 2, 3, 4, 5)
"""Severities of every corruption."""
FOREIGN_LABEL = -1
"""Stands for the class of an image that is of none."""
OF_THE_TREE = "paths in the tree"
"""What an id is where images lie as files, or where what they lie in holds the names of these files."""


@dataclass(frozen=True)
class StoredImage:
    """One image as it is stored, in one buffer: what is decoded from it is what its digest is of.

    Attributes:
        content: the bytes of its file; for an image stored in an array, the bytes of its row.
    """

    content: bytes

    @cached_property
    def sha256(self) -> str:
        """Hexadecimal SHA-256 of the content."""
        return hashlib.sha256(self.content).hexdigest()


@dataclass(frozen=True)
class ReadImage:
    """One image as it was read, with the digest of its source.

    Attributes:
        image: RGB.
        sha256: of the ``StoredImage`` that it was decoded from.
        uncropped: RGB, everything that the file shows, where ``image`` is a part of it; None where it is the whole.
        remarks: what reading it changed or left out that a viewer would show, one phrase each, such as
            ``the EXIF orientation is ignored``; a report counts the images under each phrase.
    """

    image: Image.Image
    sha256: str
    uncropped: Image.Image | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Condition:
    """The condition of the images: clean, one corruption at one severity, a domain, or a foreign data set's images.

    Attributes:
        corruption: its name; that of the domain; ``"clean"`` for neither; ``"foreign"`` for images that show none of
            the run's classes.
        severity: 1 .. 5; 0 for all but corruptions.
    """

    corruption: str = "clean"
    severity: int = 0

    @property
    def clean(self) -> bool:
        """Whether the images are uncorrupted."""
        return self.corruption == "clean"

    @property
    def corrupted(self) -> bool:
        """Whether the images are corrupted."""
        return self.severity > 0

    def __str__(self) -> str:
        return f"{self.corruption} {self.severity}" if self.severity else self.corruption


CLEAN = Condition()
FOREIGN = Condition("foreign")
"""Of the images of another data set, which are only to be told from the run's own; no number of theirs is a top-1."""


def parse_condition(name: str) -> Condition:
    """Return the condition whose ``str`` is ``name``."""
    corruption, _, severity = name.rpartition(" ")
    return Condition(corruption, int(severity)) if severity.isdecimal() else Condition(name)
