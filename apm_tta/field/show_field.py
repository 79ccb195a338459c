"""``run-bench field``: grid, islands and decoded colours of one image in one pass."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn.functional import cosine_similarity

from apm_tta.data.unlabelled import Unlabelled
from apm_tta.field.checkpoint import Field
from apm_tta.field.field_answers import Answer, answer, column_of, teacher_grid, true_colours
from apm_tta.islands.fine import multiple_of, refuse_way
from apm_tta.islands.fine.bilinear import enlarge
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
    refuse_way(drawing.fine, ["field", "bilinear"], "the answers of a field")
    pixels, own = image.read(), field.apm.config.grid
    factor = multiple_of(own, drawing.resolution) if drawing.resolution else 1
    asked = factor if drawing.fine == "field" else 1
    answers = enlarged(answer(field, column_of(field, pixels), chunk, asked), factor // asked)
    true = true_colours(field, pixels, factor)
    error = float((answers.rgb.cpu() - true).square().mean())
    row: dict[str, Value] = {"rgb mse": error, "rgb psnr dB": -10 * math.log10(max(error, 1e-12))}
    grids, rows = {"field": answers.grid}, [row]
    colours = [_picture(answers.rgb)]
    if teacher is not None:
        target = enlarge(teacher_grid(field, *teacher, pixels), factor)
        row |= {
            "cosine": float(cosine_similarity(answers.grid, target, dim=-1).mean()),
            "mse": float((answers.grid - target).square().mean()),
        }
        grids[f"teacher, layer {teacher[1]}"] = target
        rows.append({"rgb mse": 0.0, "rgb psnr dB": math.inf, "cosine": 1.0, "mse": 0.0})
        colours.append(_picture(true))
    title = f"{image.id}: field {field.sha256[:DIGITS]}{drawing.resolution_note}"
    if field.settings is not None:
        status = "was held out" if image.id in field.held_out else "was not held out"
        title += f", trained on {pluralise(field.settings.training_images, 'image')}; this one {status}"
    table = draw(
        *(folder, "field", title, pixels, grids, drawing, None, rows, {"colours": colours}),
        factors=[factor] * len(grids),
    )
    return f"{title}\n\n{as_table(table)}\n\n{legend(drawing)}"


def enlarged(answers: Answer, factor: int) -> Answer:
    """Interpolate answers to k x k places for each of theirs."""
    return Answer(enlarge(answers.grid, factor), enlarge(answers.rgb, factor))


def _picture(colours: Tensor) -> npt.NDArray[np.float64]:
    picture: npt.NDArray[np.float64] = colours.double().cpu().numpy()
    return picture
