"""Pictures inside the page: small, encoded as ``data:`` addresses, and together no larger than what a page may be."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from PIL import Image

LARGEST_SIDE = 160
LARGEST_PNG = 16_384  # bytes; a larger one becomes a JPEG
ALLOWED = 2_500_000  # bytes of all pictures of a page, before base64 makes four thirds of them


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        address: ``data:`` and the content.
        small: whether it is so small that its pixels are to be seen as squares.
        alternative: what it shows, for those who do not see it.
        caption: what stands below it; empty for nothing.
    """

    address: str
    small: bool
    alternative: str
    caption: str = ""


class Album:
    """The pictures of one page.

    Args:
        allowed: bytes of all of them; what comes after is left out, and counted.
    """

    def __init__(self, allowed: int = ALLOWED) -> None:
        self._allowed = allowed
        self.taken = 0
        self.left_out = 0

    def add_image(self, image: Image.Image, alternative: str) -> Picture | None:
        """An RGB image, at most ``LARGEST_SIDE`` pixels wide and high; None where there is no room left."""
        small = max(image.size) < LARGEST_SIDE / 2
        if max(image.size) > LARGEST_SIDE:
            image = image.copy()
            image.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.LANCZOS)
        content, kind = _encoded(image, "PNG"), "png"
        if len(content) > LARGEST_PNG:
            content, kind = _encoded(image, "JPEG", quality=90), "jpeg"
        return self._add(content, kind, small, alternative, "")

    def add_png(self, content: bytes, alternative: str, caption: str) -> Picture | None:
        """A picture that is a PNG already; None where there is no room left."""
        return self._add(content, "png", False, alternative, caption)

    def _add(self, content: bytes, kind: str, small: bool, alternative: str, caption: str) -> Picture | None:
        if self.taken + len(content) > self._allowed:
            self.left_out += 1
            return None
        self.taken += len(content)
        address = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
        return Picture(address, small, alternative, caption)


def _encoded(image: Image.Image, kind: str, **options: int) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()
