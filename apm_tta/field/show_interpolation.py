"""``run-bench interpolate``: one image turns into another through the column."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from apm_tta.data.unlabelled import Unlabelled
from apm_tta.field.checkpoint import Field
from apm_tta.field.field_answers import answer, column_of
from apm_tta.islands.animation import Format, draw_frame, encode_animation
from apm_tta.islands.colours import joint_colours
from apm_tta.islands.gallery import DIGITS, as_square
from apm_tta.islands.number_tables import as_csv, as_table
from apm_tta.islands.picture_folder import PictureFolder
from apm_tta.islands.strip import Chart, Column, Curve, draw_strip

_SHOWN = 8  # columns of the strip, and rows of the text
_FRAME_MS = 120


def show_interpolation(
    folder: PictureFolder, one: Unlabelled, other: Unlabelled, field: Field, steps: int, kind: Format | None
) -> str:
    r"""Draw the answers along the straight line between the columns of two images; return the text.

    .. math:: c_k = (1 - s_k) c_A + s_k c_B, \quad s_k = k / (steps - 1)

    Beside the cosines to A's and to B's features it reports that to their blend, (1 - s) f_A + s f_B: where it is 1,
    the interpolation is a cross-fade and nothing more.

    Args:
        folder: where the files are written.
        one: image A.
        other: image B.
        field: the field that answers.
        steps: number of steps, both ends included; at least 2.
        kind: format of the animation; None for none.

    Raises:
        UserError: when an image cannot be read.
    """
    pixels = [one.read(), other.read()]
    images = [as_square(image) for image in pixels]
    first, last = (column_of(field, image) for image in pixels)
    shares = [step / (steps - 1) for step in range(steps)]
    answers = [answer(field, torch.lerp(first, last, share)) for share in shares]
    start, end = answers[0].grid, answers[-1].grid
    rows: list[dict[str, float]] = [
        {
            "step": step,
            "share of B": share,
            "cosine to A": _cosine(each.grid, start),
            "cosine to B": _cosine(each.grid, end),
            "cosine to their blend": _cosine(each.grid, torch.lerp(start, end, share)),
            "rgb mse to A": float((each.rgb - answers[0].rgb).square().mean()),
            "rgb mse to B": float((each.rgb - answers[-1].rgb).square().mean()),
        }
        for step, (share, each) in enumerate(zip(shares, answers, strict=True))
    ]
    features = joint_colours([each.grid for each in answers])
    colours = [each.rgb.double().cpu().numpy() for each in answers]
    title = f"from {one.id} to {other.id}: field {field.sha256[:DIGITS]}, {steps} steps"
    shown = sorted({round(index * (steps - 1) / (min(_SHOWN, steps) - 1)) for index in range(min(_SHOWN, steps))})
    columns = [Column(_heading(rows[at], "\n"), {"features": features[at], "colours": colours[at]}) for at in shown]
    curves = [
        Curve(name, shares, [row[name] for row in rows])
        for name in ("cosine to A", "cosine to B", "cosine to their blend")
    ]
    folder.write("interpolation.png", draw_strip(title, None, columns, Chart("share of B", curves, whole=False)))
    folder.remove_animations("interpolation")
    if kind is not None:
        frames = [
            draw_frame(
                [images[0], colours[index], features[index], images[1]],
                _heading(row, ", ") + "\nA, colours, features (PCA), B",
            )
            for index, row in enumerate(rows)
        ]
        folder.write(f"interpolation.{kind}", encode_animation([*frames, *frames[-2:0:-1]], kind, _FRAME_MS))
    folder.write("interpolation.csv", as_csv(rows))
    return f"{title}\n\n{as_table([rows[index] for index in shown])}"


def _heading(row: Mapping[str, float], between: str) -> str:
    parts = (
        f"B {100 * row['share of B']:.0f} %",
        f"to A {row['cosine to A']:.3f}",
        f"to B {row['cosine to B']:.3f}",
    )
    return between.join(parts)


def _cosine(features: Tensor, other: Tensor) -> float:
    return float(cosine_similarity(features, other, dim=-1).mean())
