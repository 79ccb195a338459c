"""A field's answers for images: features and colours of every location, and how close they are to a teacher's."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from apm_tta.errors import UserError
from apm_tta.field.checkpoint import Field
from apm_tta.islands.fine import cell_centres
from apm_tta.islands.targets import resample
from apm_tta.teachers import Teacher, load_teacher
from apm_tta.teachers.square import Square

AUTO, NONE = "auto", "none"


@dataclass(frozen=True)
class Answer:
    """A field's answers at every location of one image.

    Attributes:
        grid: features, ``(k * g, k * g, F)``.
        rgb: decoded colours, ``(k * g, k * g, 3)``, RGB in 0 .. 1 where the field is right.
    """

    grid: Tensor
    rgb: Tensor


@torch.no_grad()
def column_of(field: Field, image: Image.Image) -> Tensor:
    """Encode the whole image as one vector, ``(1, D)``."""
    device = field.apm.feature_head.weight.device
    return field.apm.column(field.pixels.prepare(image)[None].to(device))


@torch.no_grad()
def answer(field: Field, column: Tensor, chunk: int | None = None, factor: int = 1) -> Answer:
    """Answer for all locations of one column, ``(1, D)``, in one pass.

    Args:
        field: answers.
        column: of one image.
        chunk: locations that are asked for at once; None for all.
        factor: places per side that are asked for in the cell of each location.
    """
    grid = field.apm.config.grid
    whole = torch.arange(grid**2, device=column.device)
    everywhere = whole if factor == 1 else cell_centres(grid, factor).to(column)
    features = field.apm.query(column, everywhere, chunk)
    colours = field.pixels.to_rgb(field.apm.colours(column, features, everywhere, chunk))
    shape = (grid * factor, grid * factor)
    return Answer(features[0, :, : field.width].unflatten(0, shape), colours[0].unflatten(0, shape))


def true_colours(field: Field, image: Image.Image, factor: int = 1) -> Tensor:
    """Return the target of ``Answer.rgb``, ``(k * g, k * g, 3)``: means of the image's cells as the field reads them.

    Raises:
        UserError: when k does not divide the side of a patch, in pixels. Exit code 2.
    """
    grid, patch = field.apm.config.grid, field.apm.config.patch_size
    if patch % factor:
        most = grid * patch
        raise UserError(f"the field's image has {most} pixels per side: --resolution has to divide that", exit_code=2)
    pixels = field.pixels.prepare(image)[None]
    means = field.pixels.target_colours(pixels, patch // factor)
    colours: Tensor = field.pixels.to_rgb(means)[0].unflatten(0, (grid * factor, grid * factor))
    return colours


def teacher_of(field: Field, name: str, layer: int | None, device: torch.device) -> tuple[Teacher, int] | None:
    """Return the teacher that a field is compared with, and the layer; None for none.

    Args:
        field: its settings name its own teacher and layer.
        name: ``auto`` for its own, ``none``, or another.
        layer: a layer of the teacher; None for its own.
        device: where the teacher computes.

    Raises:
        UserError: when the teacher is not available, or is not the one that the field was trained on.
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
        error.advise("to do without a teacher: --teacher none")
        raise
    if dict(teacher.identity) != settings.teacher_identity:
        raise UserError(
            f"teacher {settings.teacher} is not the one that the field was trained on: its weights or its "
            f"preprocessing differ; name another with --teacher, or none"
        )
    return teacher, settings.schedule.layer if layer is None else layer


@torch.no_grad()
def teacher_grid(field: Field, teacher: Teacher, layer: int, image: Image.Image) -> Tensor:
    """Compute the teacher's tokens at the field's locations, ``(g, g, F)``.

    Raises:
        UserError: when their width differs from that of the field's features, or the layer does not exist.
    """
    tokens = teacher.encode_grid(Square(teacher.preprocessing)(image)[None].to(teacher.device), layer)
    if tokens.shape[-1] != field.width:
        raise UserError(
            f"the field answers with {field.width} numbers per location, layer {layer} of teacher {teacher.name} with "
            f"{tokens.shape[-1]}: the field was not trained on that layer; name its own teacher and --layer, or "
            f"--teacher none",
            exit_code=2,
        )
    return resample(tokens, field.apm.config.grid)[0]
