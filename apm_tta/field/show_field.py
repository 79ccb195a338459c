"""``run-bench field``: grid, islands and decoded colours of one image in one pass."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn.functional import cosine_similarity

from apm_tta.data.unlabelled import Unlabelled
from apm_tta.field.checkpoint import Field
from apm_tta.field.field_answers import answer, column_of, teacher_grid, true_colours
from apm_tta.islands.gallery import DIGITS, Drawing, draw, legend
from apm_tta.islands.number_tables import Value, as_table
from apm_tta.islands.picture_folder import PictureFolder
from apm_tta.teachers import Teacher
from apm_tta.wording import pluralise


def show_field(
    folder: PictureFolder,
    image: Unlabelled,
    field: Field,
    teacher: tuple[Teacher, int] | None,
    chunk: int | None,
    drawing: Drawing,
) -> str:
    """Draw the field's answers beside its teacher's; return the text.

    Args:
        folder: where the files are written.
        image: the image to answer for.
        field: the field that answers.
        teacher: the teacher and its layer; None for no comparison.
        chunk: number of locations that are queried at once; None for all.
        drawing: how islands are drawn.

    Raises:
        UserError: when the image cannot be read, or the teacher's tokens do not have the field's width.
    """
    pixels = image.read()
    answers = answer(field, column_of(field, pixels), chunk)
    true = true_colours(field, pixels)
    error = float((answers.rgb.cpu() - true).square().mean())
    row: dict[str, Value] = {"rgb mse": error, "rgb psnr dB": -10 * math.log10(max(error, 1e-12))}
    grids, rows = {"field": answers.grid}, [row]
    colours = [_picture(answers.rgb)]
    if teacher is not None:
        target = teacher_grid(field, *teacher, pixels)
        row |= {
            "cosine": float(cosine_similarity(answers.grid, target, dim=-1).mean()),
            "mse": float((answers.grid - target).square().mean()),
        }
        grids[f"teacher, layer {teacher[1]}"] = target
        rows.append({"rgb mse": 0.0, "rgb psnr dB": math.inf, "cosine": 1.0, "mse": 0.0})
        colours.append(_picture(true))
    title = f"{image.id}: field {field.sha256[:DIGITS]}"
    if field.settings is not None:
        status = "was held out" if image.id in field.held_out else "was not held out"
        title += f", trained on {pluralise(field.settings.training_images, 'image')}; this one {status}"
    table = draw(folder, "field", title, pixels, grids, drawing, None, rows, {"colours": colours})
    return f"{title}\n\n{as_table(table)}\n\n{legend(drawing.threshold)}"


def _picture(colours: Tensor) -> npt.NDArray[np.float64]:
    picture: npt.NDArray[np.float64] = colours.double().cpu().numpy()
    return picture
