"""Pictures inside the page: small, encoded as ``data:`` URLs, and together limited in size."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from PIL import Image

LARGEST_SIDE = 160
LARGEST_PNG = 16_384  # bytes; a larger one becomes a JPEG
ALLOWED = 2_500_000  # bytes of all pictures of a page together, before base64 adds a third


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        address: ``data:`` URL with the content.
        small: whether it is so small that its pixels should be shown as squares.
        alternative: text alternative, for readers who do not see it.
    """

    address: str
    small: bool
    alternative: str


class Album:
    """The pictures of one page.

    Args:
        allowed: bytes of all pictures together; pictures beyond this are left out and counted.

    Attributes:
        size: bytes of the pictures added so far.
        left_out: number of pictures left out.
        changed: number of pictures whose files are no longer those of the run.
    """

    def __init__(self, allowed: int = ALLOWED) -> None:
        self._allowed = allowed
        self.size = 0
        self.left_out = 0
        self.changed = 0

    def add_image(self, image: Image.Image, alternative: str) -> Picture | None:
        """Add an RGB image, scaled to at most ``LARGEST_SIDE`` pixels wide and high; None where there is no room."""
        small = max(image.size) < LARGEST_SIDE / 2
        if max(image.size) > LARGEST_SIDE:
            image = image.copy()
            image.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.LANCZOS)
        content, kind = _encoded(image, "PNG"), "png"
        if len(content) > LARGEST_PNG:
            content, kind = _encoded(image, "JPEG", quality=90), "jpeg"
        return self._add(content, kind, small, alternative)

    def add_png(self, content: bytes, alternative: str) -> Picture | None:
        """Add a picture that is a PNG already; None where there is no room left."""
        return self._add(content, "png", False, alternative)

    def _add(self, content: bytes, kind: str, small: bool, alternative: str) -> Picture | None:
        if self.size + len(content) > self._allowed:
            self.left_out += 1
            return None
        self.size += len(content)
        address = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
        return Picture(address, small, alternative)


def _encoded(image: Image.Image, kind: str, **options: int) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()
