"""One image with its name and its label, and the condition under which it is seen."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True)
class Sample:
    """One test image.

    Attributes:
        id: stable across machines: the path below the dataset's root.
        image: RGB.
        label: index into the dataset's class list. It stays in the harness: no method ever receives a ``Sample``.
    """

    id: str
    image: Image.Image
    label: int


@dataclass(frozen=True)
class Condition:
    """What was done to the images: nothing, or one corruption at one severity.

    Attributes:
        corruption: its name; ``"clean"`` for none.
        severity: 1 .. 5; 0 for clean.
    """

    corruption: str = "clean"
    severity: int = 0

    @property
    def clean(self) -> bool:
        """Whether the images are as they are."""
        return self.corruption == "clean"

    def __str__(self) -> str:
        return "clean" if self.clean else f"{self.corruption} {self.severity}"


CLEAN = Condition()
