"""A run from what was asked for to records on disk."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from apm_tta.data.dataset import CORRUPTION_SEED, Dataset, open_dataset
from apm_tta.data.sample import Condition
from apm_tta.data.subset import subset_rule
from apm_tta.errors import INTERRUPTED, UserError
from apm_tta.harness.engines import ENGINES
from apm_tta.harness.files import PARTIAL
from apm_tta.harness.manifest import (
    MANIFEST_FILE,
    environment,
    read_manifest,
    refuse_other_run,
    versions,
    write_manifest,
)
from apm_tta.harness.plan import Cell, Shard, plan_shards
from apm_tta.harness.progress import Progress
from apm_tta.harness.suite import Suite
from apm_tta.harness.worker import Worker
from apm_tta.methods import METHODS, Method, build_parameters
from apm_tta.teachers import Teacher, check_teacher_name, load_teacher


@dataclass(frozen=True)
class Request:
    """What one ``run-bench SUITE`` asks for beyond the suite itself.

    Attributes:
        data_root: where the data set lies; None for what the package carries.
        out: run folder; None for a new one below ``results/<suite>/``. One that holds the same run is gone on with.
        device: ``cpu``, ``cuda``, ``cuda:N``, or ``auto`` for a GPU where there is one.
        engine: name of an engine.
        memory: GiB that a method which can choose may hold; None is a share of what is free.
        quiet: no progress bar.
    """

    data_root: Path | None = None
    out: Path | None = None
    device: str = "auto"
    engine: str = "serial"
    memory: float | None = None
    quiet: bool = False


def run(suite: Suite, request: Request) -> Path:
    """Computes and records every cell of ``suite`` that the run folder lacks.

    Whatever can be wrong with the request is found before the teacher is loaded.

    Returns:
        The run folder.

    Raises:
        UserError: one line for anything that cannot be understood or carried out.
    """
    if suite.methods == ("all",):
        suite = suite.model_copy(update={"methods": tuple(METHODS.names())})
    conditions = suite.conditions()
    parameters = {name: build_parameters(name, suite.settings.get(name, {})) for name in suite.methods}
    engine = ENGINES.get(request.engine)
    check_teacher_name(suite.teacher)
    device = resolve_device(request.device)
    dataset = open_dataset(suite.dataset, request.data_root, suite.limit)
    dataset.check_conditions(conditions)
    samples = {condition: len(dataset.entries(condition)) for condition in conditions}
    folder = make_folder(request.out, suite.name)

    try:
        teacher = load_teacher(suite.teacher, device)
        memory = None if request.memory is None else int(request.memory * 2**30)
        methods = {
            name: METHODS.get(name)(teacher, dataset.classes, parameters[name], suite.seed, memory)
            for name in suite.methods
        }
        manifest = describe(suite, dataset, conditions, teacher, methods)
        if (folder / MANIFEST_FILE).exists():
            refuse_other_run(folder, read_manifest(folder), manifest)
        else:
            write_manifest(folder, manifest)
    finally:
        with suppress(OSError):
            folder.rmdir()  # succeeds only while nothing was written

    cells = [
        Cell(suite.dataset, condition, suite.teacher, name, suite.seed)
        for condition in conditions
        for name in suite.methods
    ]
    # State runs through a whole cell of an online method, so that its cell is never cut.
    whole = any(method.protocol == "online" for method in methods.values())
    shards = plan_shards(cells, samples, max(samples.values())) if whole else plan_shards(cells, samples)
    remaining = unfinished(shards, folder)
    progress = Progress(len(cells), remaining, request.quiet)
    try:
        worker = Worker(dataset, teacher, methods, folder, suite.batch_size, suite.precision, progress.advance)
        engine(remaining, worker.compute)
    except KeyboardInterrupt:
        message = f"interrupted; finished shards are kept: the same command with --out {folder} goes on"
        raise UserError(message, INTERRUPTED) from None
    finally:
        progress.close()
    return folder


def resolve_device(name: str) -> torch.device:
    """The device of that name, checked to exist.

    Raises:
        UserError: for a name that means nothing, or a device that is not there. Exit code 2.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
        if device.type == "meta":
            raise RuntimeError("a meta tensor holds no numbers")
    except (RuntimeError, AssertionError, NotImplementedError):
        available = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        raise UserError(f"device {name!r} is not available; there are: {', '.join(available)}", exit_code=2) from None
    return device


def make_folder(out: Path | None, suite: str) -> Path:
    """The run folder: ``out``, or a new one below the current folder.

    Raises:
        UserError: when it cannot be written, or holds something that is no run.
    """
    folder = out or _new_folder(Path("results") / suite)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f"writable{PARTIAL}"
        probe.touch()
        probe.unlink()
        others = [path for path in folder.iterdir() if path.suffix != PARTIAL]
        foreign = bool(others) and not (folder / MANIFEST_FILE).exists()
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error.strerror}); name another folder with --out") from None
    if foreign:
        raise UserError(f"{folder} holds files that are no run; nothing is overwritten: name another folder with --out")
    return folder


def describe(
    suite: Suite, dataset: Dataset, conditions: Sequence[Condition], teacher: Teacher, methods: dict[str, Method]
) -> dict[str, Any]:
    """The manifest: ``numbers`` is everything that a number depends on, ``environment`` everything else."""
    first = conditions[0]
    chosen = len(dataset.entries(first))
    available = dataset.card.images
    return {
        "numbers": {
            "suite": suite.name,
            "dataset": {
                "name": suite.dataset,
                "title": dataset.card.title,
                "classes": len(dataset.classes),
                "fingerprint": dataset.fingerprint(conditions),
                "images_a_condition": chosen,
                "subset": subset_rule(suite.limit, chosen, available),
                "corruption_parameters": dataset.card.corruption_parameters,
                "corruption_seed": CORRUPTION_SEED,
            },
            "conditions": [str(condition) for condition in conditions],
            "teacher": {"name": suite.teacher, "weights_sha256": teacher.weights_sha256},
            "methods": {name: _plain(method) for name, method in methods.items()},
            "seed": suite.seed,
            "precision": suite.precision,
            "versions": versions(),
        },
        "title": suite.title,
        "batch_size": suite.batch_size,
        "environment": environment(teacher.device),
    }


def unfinished(shards: Sequence[Shard], folder: Path) -> list[Shard]:
    """The shards that lack a record, each with the cells that it lacks."""
    lacking = (
        replace(shard, cells=tuple(cell for cell in shard.cells if not (folder / shard.file_of(cell)).exists()))
        for shard in shards
    )
    return [shard for shard in lacking if shard.cells]


def _new_folder(parent: Path) -> Path:
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    folder, again = parent / stamp, 1
    while folder.exists():
        again += 1
        folder = parent / f"{stamp}-{again}"
    return folder


def _plain(method: Method) -> dict[str, Any]:
    """A method's resolved configuration as plain data."""
    plain = {"protocol": method.protocol, **asdict(method.parameters), **method.resolved()}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}
