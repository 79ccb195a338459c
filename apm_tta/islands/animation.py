"""Animations of pictures: GIF or WebP (Pillow)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Format = Literal["gif", "webp"]

_SIDE = 160  # of a panel, in pixels
_GAP = 6
_LINE = 16
_WHITE = (255, 255, 255)

Panel = Image.Image | npt.NDArray[np.float64]
"""An RGB image, or RGB ``(h, w, 3)`` in 0 .. 1 whose locations are shown as squares."""


def draw_frame(panels: Sequence[Panel], caption: str) -> Image.Image:
    """Draw panels side by side, as squares of the same size, with a caption of one or more lines below."""
    lines = caption.split("\n")
    width = len(panels) * (_SIDE + _GAP) + _GAP
    canvas = Image.new("RGB", (width, _SIDE + 2 * _GAP + _LINE * len(lines)), _WHITE)
    for index, panel in enumerate(panels):
        canvas.paste(_square(panel), (_GAP + index * (_SIDE + _GAP), _GAP))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)
    for index, line in enumerate(lines):
        draw.text((_GAP, _SIDE + _GAP + _LINE * index), line, fill=(0, 0, 0), font=font)
    return canvas


def encode_animation(frames: Sequence[Image.Image], kind: Format, milliseconds: int) -> bytes:
    """Encode an endless animation of frames of the same size.

    Args:
        frames: at least one.
        kind: file format.
        milliseconds: time for which a frame is shown; the last one is shown three times as long.
    """
    content = io.BytesIO()
    durations = [milliseconds] * (len(frames) - 1) + [3 * milliseconds]
    options = {"lossless": True} if kind == "webp" else {"optimize": False}
    frames[0].save(
        content, kind.upper(), save_all=True, append_images=list(frames[1:]), duration=durations, loop=0, **options
    )
    return content.getvalue()


def _square(panel: Panel) -> Image.Image:
    if isinstance(panel, Image.Image):
        return panel.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    pixels = np.round(np.clip(panel, 0, 1) * 255).astype(np.uint8)
    return Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.NEAREST)
