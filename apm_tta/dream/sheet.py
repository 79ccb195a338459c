"""Many small pictures on one: a contact sheet, strips below each other (Pillow; axes for hundreds take a minute)."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from apm_tta.dream.judge import as_image

_TILE, _GAP, _LINE = 72, 4, 13
_LETTERS = 13  # of a caption below a tile
_ACROSS = 8


def contact_sheet(pictures: Tensor, captions: Sequence[str], title: str) -> Image.Image:
    """Draw pictures ``(N, h, w, 3)`` in rows of eight, each above its caption."""
    rows = [list(range(start, min(start + _ACROSS, len(pictures)))) for start in range(0, len(pictures), _ACROSS)]
    return _table(
        [[pictures[index] for index in row] for row in rows],
        [[captions[index][:_LETTERS] for index in row] for row in rows],
        title,
    )


def strips(pictures: Tensor, headings: Sequence[str], title: str) -> Image.Image:
    """Draw pictures ``(T, B, h, w, 3)``: a row for each of B, a column for each of T with a heading below."""
    rows = list(pictures.transpose(0, 1))
    return _table([list(row) for row in rows], [*[[]] * (len(rows) - 1), headings], title)


def as_png(image: Image.Image) -> bytes:
    """Encode an image as PNG."""
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def _table(rows: Sequence[Sequence[Tensor]], captions: Sequence[Sequence[str]], title: str) -> Image.Image:
    """Draw rows of pictures, with captions below those rows that have any."""
    font = ImageFont.load_default(11)
    width = _GAP + max(len(row) for row in rows) * (_TILE + _GAP)
    lines = textwrap.wrap(title, width // 6)
    heights = [_TILE + _GAP + (_LINE if below else 0) for below in captions]
    canvas = Image.new("RGB", (width, _GAP + len(lines) * (_LINE + 2) + sum(heights) + _GAP), (255, 255, 255))
    draw, y = ImageDraw.Draw(canvas), _GAP
    for line in lines:
        draw.text((_GAP, y), line, fill=(0, 0, 0), font=font)
        y += _LINE + 2
    for row, below, height in zip(rows, captions, heights, strict=True):
        for column, picture in enumerate(row):
            x = _GAP + column * (_TILE + _GAP)
            canvas.paste(as_image(picture).resize((_TILE, _TILE), Image.Resampling.NEAREST), (x, y))
            if below:
                draw.text((x, y + _TILE), below[column], fill=(0, 0, 0), font=font)
        y += height
    return canvas
