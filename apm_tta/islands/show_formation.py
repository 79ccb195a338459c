"""``run-bench islands``: islands that form, from an image to files and a readable text."""

from __future__ import annotations

from apm_tta.apm import DistillConfig
from apm_tta.data.unlabelled import Unlabelled
from apm_tta.islands.fine import multiple_of, refuse_way
from apm_tta.islands.formation import chosen_iterations, form
from apm_tta.islands.gallery import Drawing, draw, legend, teacher_title
from apm_tta.islands.number_tables import Value, as_csv, as_table
from apm_tta.islands.picture_folder import PictureFolder
from apm_tta.islands.strip import Chart, Curve
from apm_tta.islands.targets import Target, aim_at_grid, aim_at_token
from apm_tta.randomness import seed_for
from apm_tta.teachers import Teacher


def show_formation(
    folder: PictureFolder,
    image: Unlabelled,
    teacher: Teacher,
    fit: DistillConfig,
    every: int,
    target: Target,
    layer: int,
    drawing: Drawing,
) -> str:
    """Draw the islands of a fresh APM at iterations 0, ``every``, ... and the last; return the text.

    Args:
        folder: where the files are written.
        image: the image that the APM is fitted to.
        teacher: provides the target.
        fit: iterations and learning rate.
        every: iterations between two pictures.
        target: the teacher's token, or its patch tokens.
        layer: layer of the patch tokens.
        drawing: how islands are drawn; its seed is also that of the fresh parameters.

    Raises:
        UserError: when the image cannot be read, or the teacher has no patch tokens where they are the target.
    """
    pixels = image.read()
    aim = aim_at_token(pixels, teacher, fit) if target == "token" else aim_at_grid(pixels, teacher, layer, fit)
    seed = seed_for(drawing.seed, image.id, "fresh APM")
    refuse_way(drawing.fine, ["field", "bilinear"], "the features of an APM")
    factor = multiple_of(aim.config.grid, drawing.resolution) if drawing.resolution else 1
    formation = form(pixels, aim, chosen_iterations(fit.iterations, every), seed, teacher.device, factor, drawing.fine)
    fitted_to = "token" if target == "token" else f"patch tokens of layer {layer}"
    title = (
        f"a fresh APM fitted to the {fitted_to} of {teacher_title(teacher.name, teacher.identity)}, seed {drawing.seed}"
        f"{drawing.resolution_note}"
    )
    if aim.resampled is not None:
        title += f"; its grid of {aim.config.grid} x {aim.config.grid}: the teacher's of {aim.resampled} interpolated"
    chart = Chart(
        "iteration",
        [Curve("loss (mean squared error)", range(len(formation.losses)), formation.losses)],
        [Curve(f"cosine to the teacher's {target}", range(len(formation.cosines)), formation.cosines)],
        formation.iterations,
    )
    grids = {f"iteration {at}": grid for at, grid in zip(formation.iterations, formation.grids, strict=True)}
    cells = [{"loss": formation.losses[at], "cosine": formation.cosines[at]} for at in formation.iterations]
    rows = draw(
        *(folder, "islands", f"{image.id}: {title}", pixels, grids, drawing, chart, cells),
        factors=[factor] * len(grids),
        one_basis=True,
    )
    history: list[dict[str, Value]] = [
        {"iteration": at, "loss": loss, "cosine": cosine}
        for at, (loss, cosine) in enumerate(zip(formation.losses, formation.cosines, strict=True))
    ]
    folder.write("fit.csv", as_csv(history))
    return f"{image.id}: {title}\n\n{as_table(rows)}\n\n{legend(drawing)}"
