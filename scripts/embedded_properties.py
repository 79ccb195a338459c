"""Pictures that vary, and the sentences that say how: what the text tower of ``embedded-resnet`` learns to hear.

A picture has five properties: its size, place, orientation, colour and ground. Each has a usual value, that of the data
set's own images. No property is one of the corruptions that the benchmark tests: nothing is blurred, noisy, brighter,
darker, of less contrast, pixelated, foggy or compressed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from apm_tta.teachers.templates import TEMPLATES


@dataclass(frozen=True)
class Property:
    """One property of a picture.

    Attributes:
        name: such as ``size``.
        sentences: the sentences for each value, with ``{}`` for the class; the usual value comes first.
    """

    name: str
    sentences: Mapping[str, tuple[str, ...]]

    @property
    def values(self) -> tuple[str, ...]:
        """Return its values; the usual one comes first."""
        return tuple(self.sentences)


_PHOTO = ("a photo of a", "a photo of the", "a", "the")
_ADJECTIVE = (*(f"{start} {{0}} {{{{}}}}." for start in _PHOTO), "a {{}} that is {0}.")
_ADDITION = (*(f"{start} {{{{}}}} {{0}}." for start in _PHOTO), "{0}, a photo of a {{}}.")


def _adjective(word: str) -> tuple[str, ...]:
    return tuple(form.format(word) for form in _ADJECTIVE)


def _addition(words: str) -> tuple[str, ...]:
    return tuple(form.format(words) for form in _ADDITION)


_CLOSE_UP = tuple(t for t in TEMPLATES["openai80"] if "close-up" in t or "cropped" in t)
_BLACK_AND_WHITE = tuple(t for t in TEMPLATES["openai80"] if "black and white" in t)
_TINTS = {
    "red": (1.0, 0.25, 0.25),
    "green": (0.25, 1.0, 0.25),
    "blue": (0.3, 0.4, 1.0),
    "yellow": (1.0, 0.95, 0.2),
    "purple": (0.85, 0.25, 1.0),
}

SIZE = Property(
    "size",
    {
        "medium": _adjective("medium-sized"),
        "small": _adjective("small"),
        "large": _adjective("large"),
        "close-up": _CLOSE_UP,
    },
)
PLACE = Property(
    "place",
    {
        "middle": _addition("in the middle"),
        "left": _addition("on the left"),
        "right": _addition("on the right"),
    },
)
ORIENTATION = Property(
    "orientation",
    {
        "upright": _adjective("upright"),
        "turned": _addition("turned on its side"),
        "upside down": (*_adjective("upside-down"), *_addition("upside down")),
        "mirrored": _adjective("mirrored"),
    },
)
COLOUR = Property("colour", {"grey": (*_BLACK_AND_WHITE, *_adjective("grey")), **{t: _adjective(t) for t in _TINTS}})
GROUND = Property(
    "ground",
    {
        "plain": _addition("on a plain ground"),
        "striped": _addition("on a striped ground"),
        "checkered": _addition("on a checkered ground"),
        "dotted": _addition("on a dotted ground"),
    },
)
PROPERTIES = (SIZE, PLACE, ORIENTATION, COLOUR, GROUND)

_SAID = {sentence for each in PROPERTIES for sentences in each.sentences.values() for sentence in sentences}
NEUTRAL = tuple(template for template in TEMPLATES["openai80"] if template not in _SAID)
"""The templates of CLIP that say nothing of a property here; those of blur or brightness belong to any picture."""

Values = dict[str, Tensor]
"""For each property by name, the position of its value for B pictures, ``(B,)``."""


def usual_values(count: int) -> Values:
    """Return the usual value of every property for ``count`` pictures."""
    return {each.name: torch.zeros(count, dtype=torch.long) for each in PROPERTIES}


def draw_values(count: int, focus: Property, generator: torch.Generator) -> Values:
    """Draw the values of ``count`` pictures: half are as usual, the others have another value of ``focus``.

    Three in ten of these others have a further property, which no sentence of the step speaks of.
    """
    values = usual_values(count)
    varied = torch.rand(count, generator=generator) < 0.5
    further = varied & (torch.rand(count, generator=generator) < 0.3)
    chosen = torch.randint(len(PROPERTIES), (count,), generator=generator)
    for index, each in enumerate(PROPERTIES):
        other = torch.randint(1, len(each.values), (count,), generator=generator)
        changed = varied if each is focus else further & (chosen == index)
        values[each.name] = torch.where(changed, other, values[each.name])
    return values


def draw_pictures(images: Tensor, values: Values, generator: torch.Generator) -> Tensor:
    """Draw images with these values; every picture is also cropped a little, up to a fifth of its area.

    Args:
        images: ``(B, 1, S, S)`` in 0 .. 1.
        values: of each picture.
        generator: of the draws within a value, such as how small a small picture is.

    Returns:
        Pictures ``(B, 3, S, S)`` in 0 .. 1.
    """
    moved = _moved(images, values, generator)
    grounded = _on_ground(moved, values["ground"], generator)
    tints = torch.tensor([(1.0, 1.0, 1.0), *_TINTS.values()])[values["colour"]]
    return grounded * tints[:, :, None, None]


def _moved(images: Tensor, values: Values, generator: torch.Generator) -> Tensor:
    """Resize, place and turn the articles."""
    count = len(images)

    def uniform(low: float, high: float) -> Tensor:
        return torch.empty(count).uniform_(low, high, generator=generator)

    zooms = torch.stack([uniform(0.8, 1.0).rsqrt(), uniform(0.45, 0.65), uniform(1.35, 1.55), uniform(1.9, 2.4)])
    zoom = zooms.gather(0, values["size"][None])[0]
    to_side = torch.tensor([0.0, -1.0, 1.0])[values["place"]]
    zoom = torch.where(to_side != 0, uniform(0.5, 0.7), zoom)  # what fills the picture is at no side of it
    slack = (1 - zoom).abs()
    beyond = torch.where(zoom > 1, slack * 0.6, slack * 0.2)
    shift_x = torch.where(to_side != 0, to_side * (1 - zoom) * uniform(0.75, 1), beyond * uniform(-1, 1))
    shift_y = beyond * uniform(-1, 1)
    stretch = uniform(math.log(0.9), math.log(1.1)).mul(0.5).exp()

    orientation = values["orientation"]
    quarter = torch.where(uniform(-1, 1) > 0, 1.0, -1.0)
    angle = torch.where(orientation == 1, quarter * math.pi / 2, torch.where(orientation == 2, math.pi, 0.0))
    flip = torch.where(orientation == 3, -1.0, 1.0)
    cos, sin = angle.cos(), angle.sin()
    linear = (
        torch.stack([torch.stack([flip * cos, -flip * sin], 1), torch.stack([sin, cos], 1)], 1)
        / torch.stack([zoom * stretch, zoom / stretch], 1)[:, None, :]
    )
    offset = -(linear @ torch.stack([shift_x, shift_y], 1)[:, :, None])
    grid = affine_grid(torch.cat([linear, offset], 2), list(images.shape), align_corners=False)
    return grid_sample(images, grid, padding_mode="zeros", align_corners=False)


def _on_ground(images: Tensor, ground: Tensor, generator: torch.Generator) -> Tensor:
    """Put the articles on their grounds: plain, striped, checkered or dotted."""
    count, side = len(images), images.shape[-1]

    def uniform(low: float, high: float) -> Tensor:
        return torch.empty(count, 1, 1).uniform_(low, high, generator=generator)

    line = torch.linspace(-1, 1, side)
    angle, waves = uniform(0, math.pi), uniform(3, 6) * math.pi
    along = (line[None, None, :] * angle.cos() + line[None, :, None] * angle.sin()) * waves + uniform(0, 6)
    across = (line[None, :, None] * angle.cos() - line[None, None, :] * angle.sin()) * waves + uniform(0, 6)
    first, second = along.sin(), across.sin()
    patterns = torch.stack(
        [torch.zeros_like(first), (first > 0).float(), (first * second > 0).float(), (first + second > 1).float()]
    )
    pattern = patterns[ground, torch.arange(count)] * uniform(0.3, 0.7)
    article = (images[:, 0] * 20).clamp(max=1)
    return (images[:, 0] * article + pattern * (1 - article))[:, None]
