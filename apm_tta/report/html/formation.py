"""Islands over a few of a run's images: in the teacher's layers, and in the run's fit of a fresh APM, repeated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize, pad

from apm_tta.apm.engine import Goals
from apm_tta.data.sample import parse_condition
from apm_tta.devices import resolve_device
from apm_tta.errors import UserError
from apm_tta.harness.compute.rebuild import rebuild_method, rebuild_teacher
from apm_tta.harness.storage.manifest import Numbers
from apm_tta.harness.storage.run_records import present_files, read_recorded
from apm_tta.islands.agreement import agreement_of, format_cosine
from apm_tta.islands.colours import Floats, colours, joint_colours
from apm_tta.islands.fine import PLAIN, WAYS, FineGrid, multiple_of
from apm_tta.islands.formation import Formation, form
from apm_tta.islands.levels import grids_of_levels
from apm_tta.islands.overlay import colours_as_png, contours_as_png
from apm_tta.islands.patience import refuse_long, seconds_of_levels, seconds_of_merging
from apm_tta.islands.regions import merge_regions
from apm_tta.islands.targets import Aim
from apm_tta.method_rows import method_of
from apm_tta.methods import Batch
from apm_tta.methods.apm import APMMethod
from apm_tta.randomness import seed_for
from apm_tta.report.html.samples import Island, Islands, choose_samples, open_run_dataset
from apm_tta.report.run_data import ReportData
from apm_tta.teachers import Teacher

# The run had batches of another size: the sums are the same but for their last bits, so that a fit differs no further.
_TOLERANCE = 1e-3
_MOST_LAYERS, _QUARTERS = 6, 4


def draw_islands(
    data: ReportData,
    samples: int,
    count: int,
    resolution: int | None = None,
    fine: str = PLAIN,
    *,
    allow_code: bool = False,
    long: bool = False,
) -> Islands:
    """Draw islands in a teacher's layers and during the fit of a run's APM, its first row, for some images.

    Args:
        data: data of the run.
        samples: largest number of images on the page.
        count: largest number of these images that get islands; they are evenly spaced among them.
        resolution: locations per side, a multiple of the APM's; None for its own. Layers whose grid does not divide it
            keep their own.
        fine: way to features between the locations: ``field`` for the APM, one of ``WAYS`` for the layers; the others
            are interpolated.
        allow_code: whether a teacher ``module:...``, which is code, may be imported and run.
        long: whether it may take more than ten minutes.

    Raises:
        UserError: when the run has no APM, its images or its teacher are not available here, or a fit does not end
            where the run recorded. Exit code 2 where it has no APM, and for a resolution that is no multiple or
            takes long.
    """
    numbers = data.manifest.numbers
    named = [row for row in data.methods if method_of(row) == APMMethod.name]
    if not named:
        raise UserError("the run has no method apm, so there are no islands to draw", exit_code=2)
    _, dataset, reason = open_run_dataset(data)
    if dataset is None:
        raise UserError(reason)
    teacher = rebuild_teacher(data.manifest, resolve_device("auto"), allow_code)
    method: Any = rebuild_method(data.manifest, named[0], teacher, data.seeds[0])
    factor = multiple_of(method.config.grid, resolution or method.config.grid)
    recorded = _recorded_cosines(data.run, numbers, named[0], data.seeds[0])
    fitted = [sample for sample in choose_samples(data, samples).samples if (sample.condition, sample.id) in recorded]
    islands = {}
    way = fine if fine in WAYS.names() else PLAIN
    for place, sample in enumerate(chosen := fitted[:: max(1, -(-len(fitted) // count))]):
        condition = parse_condition(sample.condition)
        entry = next(entry for entry in dataset.entries(condition) if entry.id == sample.id)
        batch = Batch((sample.id,), (dataset.read(entry, condition).image,))
        if resolution and not place:
            layers = _chosen_layers(teacher, batch.images[0], resolution)[1]
            seconds = seconds_of_levels(batch.images[0], teacher, layers, resolution, way) if layers else 0
            seconds += (_QUARTERS + 1) * seconds_of_merging(resolution, method.config.feature_dim)
            refuse_long(len(chosen) * seconds, long)
        formation = _repeat_fit(method, batch, numbers.precision, factor, fine)
        expected = recorded[sample.condition, sample.id]
        if abs(formation.cosines[-1] - expected) > _TOLERANCE:
            raise UserError(
                f"the fit of {sample.id} under {sample.condition} ends at a cosine of {formation.cosines[-1]:.4f} "
                f"here, but the run recorded {expected:.4f}: its islands would be those of a different fit; draw them "
                "with the versions in run.yaml"
            )
        of_layers = _of_layers(batch.images[0], teacher, resolution, way)
        islands[sample.condition, sample.id] = of_layers + _of_fit(formation, expected, factor)
    return islands


def _recorded_cosines(run: Path, numbers: Numbers, method: str, seed: int) -> dict[tuple[str, str], float]:
    """Return the cosine at which the run's own fit ended, by condition and id of the image."""
    cosines: dict[tuple[str, str], float] = {}
    fingerprint = numbers.fingerprint
    for file in present_files(run, numbers):
        if file.cell.method == method and file.cell.seed == seed:
            table = read_recorded(run, file, fingerprint).table
            for row in table.filter(pc.is_valid(table["last_cosine"])).select(["id", "last_cosine"]).to_pylist():
                cosines[str(file.cell.condition), row["id"]] = row["last_cosine"]
    return cosines


@torch.no_grad()
def _repeat_fit(method: APMMethod, batch: Batch, precision: str, factor: int, fine: str) -> Formation:
    """Repeat the fit of the batch's one image as in ``APMMethod.predict``, and keep its intermediate features."""
    device, fit = method.teacher.device, method.parameters.fit()
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        target = method.targets(batch)
        width = target.shape[1]
        padded = pad(target.float(), (0, method.config.feature_dim - width))
        aim = normalize(padded, dim=-1) if fit.normalize_target else padded
        goals = Goals(
            aim, fit.token_weight, rgb_weight=fit.rgb_weight, columns=aim if method.config.column == "vit" else None
        )
        iterations = sorted({fit.iterations * quarter // _QUARTERS for quarter in range(_QUARTERS + 1)})
        seed = seed_for(method.seed, batch.ids[0], "fresh APM")
        return form(batch.images[0], Aim(method.config, goals, fit, width), iterations, seed, device, factor, fine)


def _chosen_layers(
    teacher: Teacher, image: Image.Image, resolution: int | None
) -> tuple[dict[int, FineGrid], list[int]]:
    """Return the grids of some layers, evenly spaced, the last one among them; and those that ``resolution`` suits.

    There are none where the teacher has no locations.
    """
    try:
        last = teacher.layers - 1
        count = min(_MOST_LAYERS, last + 1)
        layers = sorted({last - index * last // max(1, count - 1) for index in range(count)})
        own = grids_of_levels(image, teacher, layers)
    except UserError:
        return {}, []
    grids = dict(zip(layers, own, strict=True))
    return grids, [layer for layer, grid in grids.items() if resolution and not resolution % len(grid.features)]


def _of_layers(image: Image.Image, teacher: Teacher, resolution: int | None, way: str) -> list[Island]:
    """Draw some of the teacher's layers; a layer whose grid does not divide the resolution keeps its own."""
    grids, divided = _chosen_layers(teacher, image, resolution)
    if divided:
        grids.update(zip(divided, grids_of_levels(image, teacher, divided, resolution, way), strict=True))
    islands = []
    for layer, grid in grids.items():
        (shading,) = colours([grid.features], "pca", 0)
        islands.append(_island(f"layer {layer}", grid.features, shading.picture, grid.factor))
    return islands


def _of_fit(formation: Formation, recorded: float, factor: int) -> list[Island]:
    """Draw every kept iteration by principal components whose colours all iterations share."""
    islands = []
    pictures = joint_colours(formation.grids)
    for iteration, grid, picture in zip(formation.iterations, formation.grids, pictures, strict=True):
        ends = f" (in the run {recorded:.3f})" if iteration == formation.iterations[-1] else ""
        note = f"cosine {formation.cosines[iteration]:.3f}{ends}, "
        islands.append(_island(f"apm, iteration {iteration}", grid, picture, factor, note))
    return islands


def _island(name: str, grid: Tensor, picture: Floats, factor: int, note: str = "") -> Island:
    regions = merge_regions(grid)
    measured = agreement_of(grid, regions, factor=factor)
    caption = f"{note}neighbours {format_cosine(measured.neighbours)}, islands {measured.islands}"
    return Island(name, caption, colours_as_png(picture), contours_as_png(regions.labels(measured.islands)))
