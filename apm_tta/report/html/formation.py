"""Islands below a few of a run's images: the run's fit of a fresh APM, repeated and observed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from PIL import Image
from torch.nn.functional import normalize, pad

from apm_tta.apm.engine import Goals
from apm_tta.data.sample import parse_condition
from apm_tta.devices import resolve_device
from apm_tta.errors import UserError
from apm_tta.harness.compute.rebuild import rebuild_method, rebuild_teacher
from apm_tta.harness.storage.manifest import Numbers
from apm_tta.harness.storage.run_records import present_files, read_recorded
from apm_tta.islands.agreement import agreement, format_cosine
from apm_tta.islands.colours import Floats, colours, joint_colours
from apm_tta.islands.formation import Formation, form
from apm_tta.islands.targets import Aim
from apm_tta.method_rows import method_of
from apm_tta.methods import Batch
from apm_tta.methods.apm import APMMethod
from apm_tta.randomness import seed_for
from apm_tta.report.html.samples import Island, Islands, choose_samples, open_run_dataset
from apm_tta.report.run_data import ReportData

# The run had batches of another size: the sums are the same but for their last bits, so that a fit differs no further.
_TOLERANCE = 1e-3
_SIDE, _GAP = 84, 4  # pixels: side of a picture, gap between two


def draw_islands(data: ReportData, samples: int, count: int) -> Islands:
    """Draw the islands at the first, the middle and the last iteration of a run's APM, its first row, for some images.

    Args:
        data: data of the run.
        samples: largest number of images on the page.
        count: largest number of these images that get islands; they are evenly spaced among them.

    Raises:
        UserError: when the run has no APM, its images or its teacher are not available here, or a fit does not end
            where the run recorded. Exit code 2 where it has no APM.
    """
    numbers = data.manifest.numbers
    named = [row for row in data.methods if method_of(row) == APMMethod.name]
    if not named:
        raise UserError("the run has no method apm, so there are no islands to draw", exit_code=2)
    _, dataset, reason = open_run_dataset(data)
    if dataset is None:
        raise UserError(reason)
    teacher = rebuild_teacher(data.manifest, resolve_device("auto"))
    method: Any = rebuild_method(data.manifest, named[0], teacher, data.seeds[0])
    recorded = _recorded_cosines(data.run, numbers, named[0], data.seeds[0])
    fitted = [sample for sample in choose_samples(data, samples).samples if (sample.condition, sample.id) in recorded]
    islands = {}
    for sample in fitted[:: max(1, -(-len(fitted) // count))]:
        condition = parse_condition(sample.condition)
        entry = next(entry for entry in dataset.entries(condition) if entry.id == sample.id)
        batch = Batch((sample.id,), (dataset.read(entry, condition).image,))
        formation = _repeat_fit(method, batch, numbers.precision)
        expected = recorded[sample.condition, sample.id]
        if abs(formation.cosines[-1] - expected) > _TOLERANCE:
            raise UserError(
                f"the fit of {sample.id} under {sample.condition} ends at a cosine of {formation.cosines[-1]:.4f} "
                f"here, but the run recorded {expected:.4f}: its islands would be those of a different fit; draw them "
                "with the versions in run.yaml"
            )
        islands[sample.condition, sample.id] = _draw_islands(formation, expected)
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
def _repeat_fit(method: APMMethod, batch: Batch, precision: str) -> Formation:
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
        iterations = sorted({0, fit.iterations // 2, fit.iterations})
        seed = seed_for(method.seed, batch.ids[0], "fresh APM")
        return form(batch.images[0], Aim(method.config, goals, fit, width), iterations, seed, device)


def _draw_islands(formation: Formation, recorded: float) -> list[Island]:
    """Draw every kept iteration: its own t-SNE, and principal components whose colours all iterations share."""
    embedded = colours(formation.grids, "tsne3", 0)
    joint = joint_colours(formation.grids)
    islands = []
    for index, (iteration, grid) in enumerate(zip(formation.iterations, formation.grids, strict=True)):
        measured = agreement(grid)
        last = iteration == formation.iterations[-1]
        recorded_cosine = f" (in the run {recorded:.3f})" if last else ""
        caption = (
            f"apm, iteration {iteration}: cosine {formation.cosines[iteration]:.3f}{recorded_cosine}, neighbours "
            f"{format_cosine(measured.neighbours)}, islands {measured.islands}"
        )
        islands.append(Island(caption, _encode_png([embedded[index].picture, joint[index]])))
    return islands


def _encode_png(pictures: Sequence[Floats]) -> bytes:
    """Encode pictures side by side, every location as a square."""
    canvas = Image.new("RGB", (_SIDE * len(pictures) + _GAP * (len(pictures) - 1), _SIDE), "white")
    for index, picture in enumerate(pictures):
        pixels = np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)
        enlarged = Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.NEAREST)
        canvas.paste(enlarged, (index * (_SIDE + _GAP), 0))
    content = io.BytesIO()
    canvas.save(content, "PNG")
    return content.getvalue()
