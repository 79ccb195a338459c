"""``run-bench islands``: islands that form, from an image to files and a text for a person."""

from __future__ import annotations

from apm_tta.apm import DistillConfig
from apm_tta.data.unlabelled import Unlabelled
from apm_tta.islands.formation import chosen_iterations, form
from apm_tta.islands.gallery import Drawing, draw, legend, titled
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
    """Islands of a fresh APM at iterations 0, ``every``, ... and the last; -> the text.

    Args:
        folder: takes the files.
        image: what the APM is fitted to.
        teacher: gives the target.
        fit: iterations and learning rate.
        every: iterations between two pictures.
        target: the teacher's token, or its patch tokens.
        layer: of the patch tokens.
        drawing: how; its seed is the fresh parameters' too.

    Raises:
        UserError: when the image cannot be read, or the teacher has no patch tokens where they are the target.
    """
    pixels = image.read()
    aim = aim_at_token(pixels, teacher, fit) if target == "token" else aim_at_grid(pixels, teacher, layer, fit)
    seed = seed_for(drawing.seed, image.id, "fresh APM")
    watched = form(pixels, aim, chosen_iterations(fit.iterations, every), seed, teacher.device)
    what = "token" if target == "token" else f"patch tokens of layer {layer}"
    title = f"a fresh APM fitted to the {what} of {titled(teacher.name, teacher.identity)}, seed {drawing.seed}"
    if aim.resampled is not None:
        title += f"; its grid of {aim.config.grid} x {aim.config.grid}: the teacher's of {aim.resampled} interpolated"
    chart = Chart(
        "iteration",
        [Curve("loss (mean squared error)", range(len(watched.losses)), watched.losses)],
        [Curve(f"cosine to the teacher's {target}", range(len(watched.cosines)), watched.cosines)],
        watched.iterations,
    )
    grids = {f"iteration {at}": grid for at, grid in zip(watched.iterations, watched.grids, strict=True)}
    more = [{"loss": watched.losses[at], "cosine": watched.cosines[at]} for at in watched.iterations]
    rows = draw(folder, "islands", f"{image.id}: {title}", pixels, grids, drawing, chart, more)
    fitted: list[dict[str, Value]] = [
        {"iteration": at, "loss": loss, "cosine": cosine}
        for at, (loss, cosine) in enumerate(zip(watched.losses, watched.cosines, strict=True))
    ]
    folder.write("fit.csv", as_csv(fitted))
    return f"{image.id}: {title}\n\n{as_table(rows)}\n\n{legend(drawing.threshold)}"
