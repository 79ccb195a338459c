"""A field asked about images: features and colours of every location, and how near they are to a teacher's."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from apm_tta.errors import UserError
from apm_tta.field.checkpoint import Field
from apm_tta.islands.targets import resampled
from apm_tta.teachers import Teacher, load_teacher
from apm_tta.teachers.square import Square

AUTO, NONE = "auto", "none"


@dataclass(frozen=True)
class Answer:
    """What a field says at every location of one image.

    Attributes:
        grid: features, ``(g, g, F)``.
        rgb: decoded colours, RGB in 0 .. 1 where the field is right, ``(g, g, 3)``.
    """

    grid: Tensor
    rgb: Tensor


@torch.no_grad()
def column_of(field: Field, image: Image.Image) -> Tensor:
    """The whole image in one vector, ``(1, D)``."""
    device = field.apm.feature_head.weight.device
    return field.apm.column(field.pixels.of(image)[None].to(device))


@torch.no_grad()
def answer(field: Field, column: Tensor, chunk: int | None = None) -> Answer:
    """One pass over all locations of one column, ``(1, D)``; ``chunk`` of them at once, None for all."""
    grid = field.apm.config.grid
    everywhere = torch.arange(grid**2, device=column.device)
    features = field.apm.query(column, everywhere, chunk)
    colours = field.pixels.shown(field.apm.colours(column, features, everywhere, chunk))
    shape = (grid, grid)
    return Answer(features[0, :, : field.width].unflatten(0, shape), colours[0].unflatten(0, shape))


def true_colours(field: Field, image: Image.Image) -> Tensor:
    """What ``Answer.rgb`` is to be, ``(g, g, 3)``: the means of the image's patches as the field sees them."""
    grid = field.apm.config.grid
    colours: Tensor = field.pixels.shown(field.pixels.colours(field.pixels.of(image)[None]))[0].unflatten(
        0, (grid, grid)
    )
    return colours


def teacher_of(field: Field, name: str, layer: int | None, device: torch.device) -> tuple[Teacher, int] | None:
    """The teacher that a field is compared with, and the layer; None for none.

    Args:
        field: its settings name its own teacher and layer.
        name: ``auto`` for its own, ``none``, or another.
        layer: None for its own.
        device: where the teacher computes.

    Raises:
        UserError: when the teacher cannot be had, or is another than the field was trained on.
    """
    if name == NONE or (name == AUTO and field.settings is None):
        return None
    settings = field.settings
    if name != AUTO:
        own = settings.schedule.layer if settings is not None else -1
        return load_teacher(name, device), own if layer is None else layer
    assert settings is not None
    try:
        teacher = load_teacher(settings.teacher, device)
    except UserError as error:
        raise UserError(f"{error}; without it: --teacher none", error.exit_code) from None
    if dict(teacher.identity) != settings.teacher_identity:
        raise UserError(
            f"teacher {settings.teacher} is not the one that the field was trained on: its weights or its "
            f"preprocessing are others; name another with --teacher, or none"
        )
    return teacher, settings.schedule.layer if layer is None else layer


@torch.no_grad()
def teacher_grid(field: Field, teacher: Teacher, layer: int, image: Image.Image) -> Tensor:
    """The teacher's tokens at the field's locations, ``(g, g, F)``.

    Raises:
        UserError: when they have another width than the field's features, or there is no such layer.
    """
    tokens = teacher.encode_grid(Square(teacher.preprocessing)(image)[None].to(teacher.device), layer)
    if tokens.shape[-1] != field.width:
        raise UserError(
            f"the field answers with {field.width} numbers a location, layer {layer} of teacher {teacher.name} has "
            f"{tokens.shape[-1]}: it was not trained on that; name its teacher and --layer, or --teacher none",
            exit_code=2,
        )
    return resampled(tokens, field.apm.config.grid)[0]
