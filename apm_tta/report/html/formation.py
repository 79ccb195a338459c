"""Islands under a handful of a run's images: the run's own fit of a fresh APM, made again and watched."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from PIL import Image
from torch.nn.functional import normalize, pad

from apm_tta.apm.engine import Goals
from apm_tta.data.sample import Condition
from apm_tta.data.task import Task
from apm_tta.devices import resolve_device
from apm_tta.errors import UserError
from apm_tta.harness.storage.manifest import MethodFields, TeacherFields
from apm_tta.harness.storage.records import read_shard
from apm_tta.islands.agreement import agreement, said_cosine
from apm_tta.islands.colours import Floats, colours, joint_colours
from apm_tta.islands.formation import Formation, form
from apm_tta.islands.targets import Aim
from apm_tta.methods import Batch, build_parameters
from apm_tta.methods.apm import APMMethod
from apm_tta.randomness import seed_for
from apm_tta.report.cell_answers import condition_files
from apm_tta.report.html.means import condition_called
from apm_tta.report.html.samples import Island, Islands, choose_samples, classes_and_images
from apm_tta.report.run_data import ReportData
from apm_tta.teachers import Teacher, load_teacher

# The same sums in batches of another size: the last bits of a fit differ, and no more.
_CLOSE = 1e-3
_SIDE, _GAP = 84, 4  # of a picture and between two, pixels


def islands_of(data: ReportData, samples: int, count: int) -> Islands:
    """Islands at the first, the middle and the last iteration of a run's APM, for some of its images.

    Args:
        data: of the run.
        samples: images that the page shows, at most.
        count: of those that get islands, at most: every so many.

    Raises:
        UserError: when the run has no APM, its images or its teacher are not to be had here, or a fit ends elsewhere
            than the run recorded.
    """
    numbers = data.manifest.numbers
    if APMMethod.name not in data.methods:
        raise UserError("the run has no method apm: there are no islands to be drawn", exit_code=2)
    _, dataset, why = classes_and_images(data)
    if dataset is None:
        raise UserError(why)
    task = Task(dataset.classes, dataset.template, dataset.card.family, numbers.crop_scale)
    parameters = _parameters(numbers.methods[APMMethod.name])
    method = APMMethod(_teacher(numbers.teacher), task, parameters, data.seeds[0])
    recorded = _recorded(data.run, data.seeds[0])
    chosen = [shown for shown in choose_samples(data, samples).samples if (shown.condition, shown.id) in recorded]
    found = {}
    for shown in chosen[:: max(1, -(-len(chosen) // count))]:
        condition = condition_called(shown.condition)
        entry = next(entry for entry in dataset.entries(condition) if entry.id == shown.id)
        batch = Batch((shown.id,), (dataset.read(entry, condition).image,))
        watched = _fit_again(method, batch, numbers.precision)
        expected = recorded[shown.condition, shown.id]
        if abs(watched.cosines[-1] - expected) > _CLOSE:
            raise UserError(
                f"the fit of {shown.id} under {shown.condition} ends at a cosine of {watched.cosines[-1]:.4f} here, "
                f"the run recorded {expected:.4f}: its islands would be those of another fit; draw them with the "
                "versions in run.yaml"
            )
        found[shown.condition, shown.id] = _drawn(watched, expected)
    return found


def _parameters(stated: MethodFields) -> Any:
    """Build the method's parameters from the manifest, where they stand beside what they resolved to."""
    names = {field.name for field in fields(APMMethod.Parameters)}
    chosen = {name: value for name, value in stated.others.items() if name in names and value is not None}
    templates = stated.templates if isinstance(stated.templates, str) else "dataset"
    return build_parameters(APMMethod.name, {**chosen, "templates": templates})


def _teacher(stated: TeacherFields) -> Teacher:
    """The run's.

    Raises:
        UserError: when its class weights came from labelled images, or its weights are others than the run's.
    """
    if stated.classifier == "prototypes":
        raise UserError("the run's class weights came from labelled images, which its folder does not have: no islands")
    known = stated.model_dump()
    teacher = load_teacher(stated.name, resolve_device("auto"), stated.classifier)
    if differing := [key for key, value in teacher.identity.items() if known.get(key) != value]:
        raise UserError(f"teacher {stated.name} is not the run's: its {', '.join(differing)} differ")
    return teacher


def _recorded(run: Path, seed: int) -> dict[tuple[str, str], float]:
    """By condition and id of an image, the cosine at which the run's own fit ended."""
    found: dict[tuple[str, str], float] = {}
    for files in condition_files(run).values():
        for path in files:
            if APMMethod.name not in path.parts:
                continue
            table = read_shard(path)
            own = pc.and_(pc.equal(table["seed"], seed), pc.is_valid(table["last_cosine"]))
            for row in table.filter(own).select(["corruption", "severity", "id", "last_cosine"]).to_pylist():
                condition = str(Condition(row["corruption"], row["severity"]))
                found[condition, row["id"]] = row["last_cosine"]
    return found


@torch.no_grad()
def _fit_again(method: APMMethod, batch: Batch, precision: str) -> Formation:
    """The fit of the batch's one image, as ``APMMethod.predict`` has it, with its features on the way."""
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


def _drawn(watched: Formation, recorded: float) -> list[Island]:
    """At every iteration that was kept: t-SNE, and principal components in which a colour is the same feature."""
    embedded = colours(watched.grids, "tsne3", 0)
    together = joint_colours(watched.grids)
    islands = []
    for index, (iteration, grid) in enumerate(zip(watched.iterations, watched.grids, strict=True)):
        found = agreement(grid)
        last = iteration == watched.iterations[-1]
        recorded_too = f" (in the run {recorded:.3f})" if last else ""
        caption = (
            f"apm, iteration {iteration}: cosine {watched.cosines[iteration]:.3f}{recorded_too}, neighbours "
            f"{said_cosine(found.neighbours)}, islands {found.islands}"
        )
        islands.append(Island(caption, _png([embedded[index].picture, together[index]])))
    return islands


def _png(pictures: Sequence[Floats]) -> bytes:
    """Pictures side by side, every location a square."""
    canvas = Image.new("RGB", (_SIDE * len(pictures) + _GAP * (len(pictures) - 1), _SIDE), "white")
    for index, picture in enumerate(pictures):
        pixels = np.round(np.clip(picture, 0, 1) * 255).astype(np.uint8)
        enlarged = Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.NEAREST)
        canvas.paste(enlarged, (index * (_SIDE + _GAP), 0))
    content = io.BytesIO()
    canvas.save(content, "PNG")
    return content.getvalue()
