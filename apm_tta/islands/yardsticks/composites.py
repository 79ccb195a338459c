"""Photographs with a part whose outline is known: a piece of another photograph, pasted without a visible edge."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from apm_tta.islands.overlay import Mask

Floats = npt.NDArray[np.float64]

SIDE = 224  # pixels
_RADIUS = (0.16, 0.28)  # of the side
_WAVES = 4
_FEATHER = 3.0  # standard deviation of the edge, pixels
_MOST_CONTRAST = 3.0  # a flat piece is not stretched further: its noise would be


@dataclass(frozen=True)
class Composite:
    """A picture of known parts.

    Attributes:
        image: RGB, a square.
        mask: whether a pixel belongs to the part, ``(SIDE, SIDE)``.
    """

    image: Image.Image
    mask: Mask


def compose(photograph: Image.Image, other: Image.Image, generator: np.random.Generator) -> Composite:
    """Paste a piece of ``other`` into a photograph: an irregular blob with a soft edge.

    The piece gets the mean and the standard deviation, channel by channel, of what it covers, so that neither its
    brightness nor its contrast gives it away. Where ``other`` is the photograph itself, the picture is a control: a
    part that differs in nothing but its place.

    Args:
        photograph: RGB.
        other: RGB, may be the same.
        generator: draws the outline and the places.
    """
    from scipy.ndimage import gaussian_filter

    below, above = (_square(image) for image in (photograph, other))
    mask = draw_blob(generator)
    piece = _moved(above, mask, generator)
    for channel in range(3):
        covered, own = below[..., channel][mask], piece[..., channel][mask]
        contrast = min(_MOST_CONTRAST, covered.std() / max(own.std(), 1e-6))
        piece[..., channel] = (piece[..., channel] - own.mean()) * contrast + covered.mean()
    share = gaussian_filter(mask.astype(np.float64), _FEATHER)[..., None]
    blended = np.clip(below * (1 - share) + piece * share, 0, 1)
    return Composite(Image.fromarray(np.round(blended * 255).astype(np.uint8)), mask)


def draw_blob(generator: np.random.Generator) -> Mask:
    """Draw a blob within the picture: a circle whose radius is modulated by a few waves."""
    radius = SIDE * generator.uniform(*_RADIUS)
    sizes = generator.normal(0, 0.12, _WAVES) / np.arange(1, _WAVES + 1)
    phases = generator.uniform(0, 2 * np.pi, _WAVES)
    reach = radius * 1.4 + 2
    row, column = generator.uniform(reach, SIDE - reach, 2)
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    angle, distance = np.arctan2(rows - row, columns - column), np.hypot(rows - row, columns - column)
    waves = sum(
        size * np.cos(index * angle + phase)
        for index, (size, phase) in enumerate(zip(sizes, phases, strict=True), start=1)
    )
    mask: Mask = distance < radius * np.clip(1 + waves, 0.5, 1.4)
    return mask


def _square(image: Image.Image) -> Floats:
    """Return the largest square in the middle of an image, ``(SIDE, SIDE, 3)`` in 0 .. 1."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.convert("RGB").crop((left, top, left + side, top + side))
    pixels: Floats = np.asarray(square.resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.float64) / 255
    return pixels


def _moved(pixels: Floats, mask: Mask, generator: np.random.Generator) -> Floats:
    """Move an image so that under the mask there lies a piece of it from elsewhere, itself within the image."""
    shifts = []
    for axis in (0, 1):
        used = np.flatnonzero(mask.any(1 - axis))
        margin = 3 * int(_FEATHER)
        shifts.append(int(generator.integers(used[-1] + margin - SIDE + 1, used[0] - margin + 1)))
    return np.roll(pixels, shifts, axis=(0, 1))
