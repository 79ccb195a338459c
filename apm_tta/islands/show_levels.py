"""``run-bench islands --levels``: a teacher's layers, for one image and over a folder of images."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image
from torch import Tensor

from apm_tta.data.unlabelled import Unlabelled
from apm_tta.islands.fine import WAYS, refuse_way
from apm_tta.islands.gallery import Drawing, agreement_cells, draw, legend, teacher_title
from apm_tta.islands.levels import MEASURES, agreements, grids_of_levels, growth
from apm_tta.islands.number_tables import Value, as_csv, as_table
from apm_tta.islands.patience import refuse_long, seconds_of_levels
from apm_tta.islands.picture_folder import PictureFolder
from apm_tta.islands.strip import Chart, Curve, draw_strip
from apm_tta.teachers import Teacher
from apm_tta.wording import pluralise

_LABELS = {
    "neighbours": "neighbours' cosine",
    "any two": "any two locations' cosine",
    "beyond": "neighbours beyond any two",
    "islands": "islands",
}


def show_levels(
    folder: PictureFolder, image: Unlabelled, teacher: Teacher, levels: Sequence[int], drawing: Drawing
) -> str:
    """Draw the islands in a teacher's layers, with their agreement as a curve; return the text.

    Raises:
        UserError: when the image cannot be read, or the teacher has no such layer.
    """
    pixels = image.read()
    _refuse_long(pixels, teacher, levels, drawing, 1)
    found = grids_of_levels(pixels, teacher, levels, drawing.resolution, drawing.fine)
    grids, factors = [each.features for each in found], [each.factor for each in found]
    named = {f"level {level}": grid for level, grid in zip(levels, grids, strict=True)}
    title = f"levels of {teacher_title(teacher.name, teacher.identity)}{drawing.resolution_note}"
    rows = draw(folder, "levels", f"{image.id}: {title}", pixels, named, drawing, factors=factors)
    curves = [Curve(_LABELS[name], levels, [float(row[name]) for row in rows]) for name in ("neighbours", "any two")]
    islands = Curve(_LABELS["islands"], levels, [float(row["islands"]) for row in rows])
    folder.write("agreement.png", draw_strip(f"{image.id}: {title}", None, [], Chart("level", curves, [islands])))
    return f"{image.id}: {title}\n\n{as_table(rows)}\n\n{_grid_sizes_note(grids)}{legend(drawing)}"


def show_growth(
    folder: PictureFolder, images: Sequence[Unlabelled], teacher: Teacher, levels: Sequence[int], drawing: Drawing
) -> str:
    """Test over many images, with intervals, whether agreement grows with the level; return the text.

    Raises:
        UserError: when an image cannot be read, the teacher has no such layer, or there is only one image or level.
    """
    _refuse_long(images[0].read(), teacher, levels, drawing, len(images))
    measured = agreements(
        (image.read() for image in images), teacher, levels, drawing.explained, drawing.resolution, drawing.fine
    )
    by_image: list[dict[str, Value]] = [
        {"image": image.id, "level": level, **agreement_cells(one)}
        for image, image_levels in zip(images, measured, strict=True)
        for level, one in zip(levels, image_levels, strict=True)
    ]
    folder.write("levels.csv", as_csv(by_image))
    grown = {name: growth(measured, name, drawing.seed) for name in MEASURES}
    by_level: list[dict[str, Value]] = [
        {"level": level, **{name: str(grown[name].by_level[index]) for name in MEASURES}}
        for index, level in enumerate(levels)
    ]
    verdicts: list[dict[str, Value]] = [
        {
            "with the level": name,
            "images": len(images),
            "last - first (95 % interval)": str(one.change),
            "Kendall's tau (95 % interval)": str(one.trend),
            "images that grow %": 100 * one.growing,
            "verdict": one.verdict(),
        }
        for name, one in grown.items()
    ]
    folder.write("growth.csv", as_csv(verdicts))
    of = f"levels of {teacher_title(teacher.name, teacher.identity)}{drawing.resolution_note}"
    title = f"{pluralise(len(images), 'image')}: {of}"
    curves = [
        Curve(
            _LABELS[name],
            levels,
            [one.mean for one in grown[name].by_level],
            [one.low for one in grown[name].by_level],
            [one.high for one in grown[name].by_level],
        )
        for name in MEASURES
    ]
    folder.write("agreement.png", draw_strip(title, None, [], Chart("level", curves[:3], curves[3:])))
    note = (
        "Means over the images with 95 % percentile bootstrap intervals; the verdict is neither unless both intervals "
        "lie on the same side of 0."
    )
    first = grids_of_levels(images[0].read(), teacher, levels, drawing.resolution, drawing.fine)
    grids = [each.features for each in first]
    note = f"{note} {_grid_sizes_note(grids)}{legend(drawing)}"
    return "\n\n".join([title, as_table(by_level), as_table(verdicts), note])


def _refuse_long(image: Image.Image, teacher: Teacher, levels: Sequence[int], drawing: Drawing, images: int) -> None:
    """Estimate finer features than the levels' own for so many images, before any is computed."""
    if drawing.resolution and not drawing.long:
        refuse_way(drawing.fine, WAYS.names(), f"the layers of teacher {teacher.name}")
        each = seconds_of_levels(image, teacher, levels, drawing.resolution, drawing.fine)
        refuse_long(images * each, drawing.long)


def _grid_sizes_note(grids: Sequence[Tensor]) -> str:
    """Return a note where the levels have grids of several sizes, as a convolutional network's stages do."""
    if len({grid.shape[:2] for grid in grids}) == 1:
        return ""
    sizes = ", ".join(f"{grid.shape[0]} x {grid.shape[1]}" for grid in grids)
    return (
        f"The levels have grids of {sizes}: the distances between neighbours in the image differ, and their numbers of "
        "islands are not comparable. "
    )
