"""How a run is divided into parts of equal length: which file of records is whose, known to every part alike.

It follows from the run's numbers and from what an image costs by each method: by the formulas of the methods, or as a
plan states it that one dry run measured. So parts need not know of each other, and whoever merges them knows what each
of them lacks.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from pydantic import Field, ValidationError

from apm_tta.configuration import Configuration, one_line
from apm_tta.data.sample import FOREIGN
from apm_tta.errors import UserError
from apm_tta.harness.plan import EPISODIC, TRANSDUCTIVE, apart_from_foreign
from apm_tta.harness.storage.manifest import Division, Manifest, Numbers, StreamFields
from apm_tta.harness.storage.run_records import RecordFile, files_of_run, samples_of_run
from apm_tta.methods import Cost
from apm_tta.system.files import read_regular, write_file
from apm_tta.wording import resume

_TEXT = 0.05
"""Cost of a class's prompt through CLIP's text tower, where an image through its ViT-B/16 costs 1."""
_BACKWARD = 2
"""Cost of a pass backwards, where that forwards costs 1."""


class Plan(Configuration):
    """What a dry run measured for the division of the run.

    Attributes:
        files_sha256: of the files that the run will have; see ``digest_of``.
        seconds_per_image: by method.
    """

    files_sha256: str
    seconds_per_image: dict[str, float] = Field(min_length=1)


def deal(costs: Sequence[float], parts: int) -> list[int]:
    """Deal units of work to parts: the largest first, each to the part that has the least so far (Graham, 1969).

    No part is longer than the mean by more than the largest unit.

    Args:
        costs: of the units.
        parts: how many there are.

    Returns:
        The part of every unit, from 0.
    """
    loads = [(0.0, part) for part in range(parts)]
    dealt = [0] * len(costs)
    for unit in sorted(range(len(costs)), key=lambda unit: -costs[unit]):
        load, part = loads[0]
        dealt[unit] = part
        heapq.heapreplace(loads, (load + costs[unit], part))
    return dealt


def part_of_files(numbers: Numbers, division: Division) -> dict[PurePosixPath, int]:
    """Return which part, from 1, every file of a run's records belongs to.

    Args:
        numbers: of the run.
        division: into how many parts, by which costs.
    """
    units = _units(numbers)
    costs = [sum(file.images * division.costs[file.cell.method] for file in unit) for unit in units]
    dealt = deal(costs, division.parts)
    return {file.name: 1 + part for unit, part in zip(units, dealt, strict=True) for file in unit}


def _units(numbers: Numbers) -> list[list[RecordFile]]:
    """Group the files that are computed together: those of one shard, or of one method's stream."""
    stream_of = dict[object, object]()
    if isinstance(numbers.streams, StreamFields):
        streaming = numbers.streams.streaming
        for part in apart_from_foreign(samples_of_run(numbers)):
            for conditions in streaming.setting.between_resets(part, streaming.reset):
                stream_of |= dict.fromkeys(conditions, (FOREIGN in part, conditions[0]))
    units: dict[object, list[RecordFile]] = {}
    for file in files_of_run(numbers).values():
        cell = file.cell
        if cell.setting in (EPISODIC, TRANSDUCTIVE):
            key: object = cell.condition, cell.setting, file.index
        else:
            key = stream_of[cell.condition], cell.method, cell.seed
        units.setdefault(key, []).append(file)
    return list(units.values())


def divide(manifest: Manifest, part: tuple[int, int] | None, plan: Path | None) -> Manifest:
    """State in a manifest how its run is divided, where only a part is asked for.

    Args:
        manifest: of the run.
        part: the i-th of n; None for all of it.
        plan: by which the run is divided; None for the methods' formulas.

    Raises:
        UserError: when the plan cannot be read, or is of another run; or where nothing is divided by it.
    """
    if part is None:
        if plan is not None:
            raise UserError("--plan divides a run into parts: it needs --shard-range, or --dry-run to be written", 2)
        return manifest
    division = by_formula(manifest, part[1]) if plan is None else by_plan(plan, manifest.numbers, part[1])
    return manifest.model_copy(update={"division": division})


def to_complete(folder: Path, division: Division | None) -> str:
    """Return the advice for a run folder that lacks something: a part lacks the others for ever."""
    if division is None:
        return resume(folder)
    return f"it holds a part of {division.parts}: run-bench merge joins it with the others, and names what they lack"


def refuse_other_plan(folder: Path, before: Division | None, now: Division | None) -> None:
    """Refuse to go on with a folder whose parts were divided by another plan.

    Raises:
        UserError: when they were.
    """
    if before is not None and now is not None and before.plan != now.plan:
        raise UserError(
            f"{folder} holds a part by {_named(before)}, not by {_named(now)}", advice="give the same --plan again"
        )


def _named(division: Division) -> str:
    return f"the plan {division.plan[:12]} ({division.plan_file})" if division.plan else "the methods' formulas"


def by_formula(manifest: Manifest, parts: int) -> Division:
    """Divide a run by its methods' passes through the teacher; loading an image counts as one."""
    classes = manifest.numbers.dataset.classes
    return Division(parts=parts, costs={name: _passes(cost, classes) for name, cost in manifest.costs.items()})


def _passes(cost: Cost, classes: int) -> float:
    images = cost.image_forwards + _BACKWARD * cost.image_backwards
    texts = cost.text_forwards + _BACKWARD * cost.text_backwards
    return 1 + images + _TEXT * classes * texts


def by_plan(path: Path, numbers: Numbers, parts: int) -> Division:
    """Divide a run by what a dry run measured.

    Raises:
        UserError: when the plan cannot be read, or is of another run.
    """
    try:
        content = read_regular(path)
        plan = Plan.model_validate_json(content)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})", advice=_WRITE) from None
    except ValidationError as error:
        raise UserError(f"{path} is not a plan ({one_line(error)})", advice=_WRITE) from None
    files = {file.name: file.images for file in files_of_run(numbers).values()}
    if plan.files_sha256 != digest_of(files) or plan.seconds_per_image.keys() != numbers.methods.keys():
        raise UserError(f"{path} is the plan of another run: of other images, methods, seeds or shards", advice=_WRITE)
    digest = hashlib.sha256(content).hexdigest()
    return Division(parts=parts, costs=plan.seconds_per_image, plan=digest, plan_file=str(path.absolute()))


_WRITE = "write it with the run's own command, --dry-run and --plan"


def write_plan(path: Path, files: Mapping[PurePosixPath, int], seconds_per_image: Mapping[str, float]) -> None:
    """Write what a dry run measured.

    Args:
        path: of the plan.
        files: how many images each file of the run will have, by its path below the run folder.
        seconds_per_image: by method.

    Raises:
        UserError: when it cannot be written.
    """
    plan = Plan(files_sha256=digest_of(files), seconds_per_image=dict(seconds_per_image))
    write_file(path, f"{plan.model_dump_json(indent=1)}\n".encode(), "name another file with --plan")


def digest_of(files: Mapping[PurePosixPath, int]) -> str:
    """Return the SHA-256 of the names of a run's files of records with their numbers of images."""
    lines = sorted(f"{name} {images}\n" for name, images in files.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()
