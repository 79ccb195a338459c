"""A run from what was asked for to records on disk."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from apm_tta.data.cards import load_card
from apm_tta.data.dataset import Dataset
from apm_tta.data.layouts import LAYOUTS
from apm_tta.data.support import SupportImages
from apm_tta.data.task import Task
from apm_tta.errors import INTERRUPTED, UserError
from apm_tta.harness.description import describe
from apm_tta.harness.device import resolve_device
from apm_tta.harness.engines import ENGINES
from apm_tta.harness.folder import make_folder, unfinished
from apm_tta.harness.loading import default_workers
from apm_tta.harness.manifest import MANIFEST_FILE, read_manifest, refuse_other_run, write_manifest
from apm_tta.harness.plan import EPISODIC, Cell, check_setting, plan_shards, plan_streams
from apm_tta.harness.progress import Progress
from apm_tta.harness.suite import Suite
from apm_tta.harness.worker import Conduct, Worker
from apm_tta.methods import METHODS, Method, build_parameters
from apm_tta.teachers import Teacher, check_teacher_name, default_cache, load_teacher
from apm_tta.teachers.base import Classifier
from apm_tta.teachers.support import SupportedTeacher, encode_support


@dataclass(frozen=True)
class Request:
    """What one ``run-bench SUITE`` asks for beyond the suite itself.

    Attributes:
        data_root: where the data set lies; None for what the package carries.
        root_from_environment: whether nobody wrote that root for this very run.
        support: labelled images for prototypes and nearest neighbours, a folder a class; None for none.
        out: run folder; None for a new one below ``results/<suite>/``. One that holds the same run is gone on with.
        device: ``cpu``, ``cuda``, ``cuda:N``, or ``auto`` for a GPU where there is one.
        engine: name of an engine.
        memory: GiB that a method which can choose may hold; None is a share of what is free.
        workers: loading processes; None is ``default_workers``.
        feature_cache: whether the teacher's features are kept on disk, and taken from there.
        quiet: no progress bar.
    """

    data_root: Path | None = None
    root_from_environment: bool = False
    support: Path | None = None
    out: Path | None = None
    device: str = "auto"
    engine: str = "serial"
    memory: float | None = None
    workers: int | None = None
    feature_cache: bool = False
    quiet: bool = False


def run(suite: Suite, request: Request) -> Path:
    """Computes and records every cell of ``suite`` that the run folder lacks.

    Whatever can be wrong with the request is found before the teacher is loaded.

    Returns:
        The run folder.

    Raises:
        UserError: one line for anything that cannot be understood or carried out.
    """
    every = suite.methods == ("all",)
    if every:
        suite = suite.model_copy(update={"methods": tuple(METHODS.names())})
    conditions = suite.conditions()
    check_setting(suite.setting, suite.resets)
    parameters = {name: build_parameters(name, suite.settings.get(name, {})) for name in suite.methods}
    for name, chosen in list(parameters.items()):
        for other in METHODS.get(name).beside(chosen):
            parameters.setdefault(other, build_parameters(other, suite.settings.get(other, {})))
    engine = ENGINES.get(request.engine)
    check_teacher_name(suite.teacher)
    device = resolve_device(request.device)
    card = load_card(suite.dataset)
    # A root in the environment is for the sets that lie somewhere, not for one that the package carries.
    root = None if LAYOUTS.get(card.layout).carried and request.root_from_environment else request.data_root
    dataset = Dataset(card, root, suite.limit, jpeg_quality=suite.jpeg_quality)
    dataset.check_conditions(conditions)
    samples = {condition: len(dataset.entries(condition)) for condition in conditions}
    folder = make_folder(request.out, suite.name)

    try:
        teacher = _teacher(suite, request, dataset, device)
        task = Task(dataset.classes, dataset.card.template, dataset.card.family, suite.crop_scale)
        memory = None if request.memory is None else int(request.memory * 2**30)
        methods, left_out = _build(parameters, teacher, task, suite.seed, memory, may_leave_out=every)
        manifest = {**describe(suite, dataset, conditions, teacher, methods), "left_out": left_out}
        if (folder / MANIFEST_FILE).exists():
            refuse_other_run(folder, read_manifest(folder), manifest)
        else:
            write_manifest(folder, manifest)
    finally:
        with suppress(OSError):
            folder.rmdir()  # succeeds only while nothing was written

    online = {name: method.stream_batch for name, method in methods.items() if method.protocol == "online"}
    cells = [
        Cell(suite.dataset, condition, suite.teacher, name, suite.seed, suite.setting if name in online else EPISODIC)
        for condition in conditions
        for name in methods
    ]
    remaining = unfinished(
        plan_shards([cell for cell in cells if cell.method not in online], samples),
        plan_streams([cell for cell in cells if cell.method in online], samples, suite.setting, suite.resets, online),
        folder,
    )
    progress = Progress(len(cells), remaining, request.quiet)
    try:
        conduct = Conduct(
            suite.batch_size,
            suite.precision,
            suite.seed,
            default_workers(device) if request.workers is None else request.workers,
            default_cache() / "features" if request.feature_cache else None,
        )
        worker = Worker(dataset, teacher, methods, folder, conduct, progress.advance)
        engine(remaining, worker.compute)
    except KeyboardInterrupt:
        message = f"interrupted; finished shards are kept: the same command with --out {folder} goes on"
        raise UserError(message, INTERRUPTED) from None
    finally:
        progress.close()
    return folder


def _build(
    parameters: dict[str, Any], teacher: Teacher, task: Task, seed: int, memory: int | None, may_leave_out: bool
) -> tuple[dict[str, Method], dict[str, str]]:
    """The methods, and why some of them were left out where every one that can work was asked for.

    Raises:
        UserError: when a method that was asked for by name cannot work with the teacher.
    """
    methods, left_out = {}, {}
    for name, chosen in parameters.items():
        try:
            methods[name] = METHODS.get(name)(teacher, task, chosen, seed, memory)
        except UserError as error:
            if not may_leave_out:
                raise
            left_out[name] = str(error)
    return methods, left_out


def _teacher(suite: Suite, request: Request, dataset: Dataset, device: torch.device) -> Teacher:
    """The teacher, with the labelled images that its class weights or its neighbours come from.

    Raises:
        UserError: for prototypes without a support. Exit code 2.
    """
    support = None if request.support is None else SupportImages(request.support, dataset, suite.shots)
    own = "auto" if suite.classifier == "prototypes" else suite.classifier
    with_text = check_teacher_name(suite.teacher) != "timm"
    teacher = load_teacher(suite.teacher, device, own if with_text else suite.classifier)
    wanted: Classifier = "prototypes" if suite.classifier == "prototypes" else teacher.classifier
    if support is None:
        if wanted == "prototypes":
            raise UserError(
                f"teacher {suite.teacher} takes its class weights from labelled images; give --support FOLDER, "
                "one folder a class",
                exit_code=2,
            )
        return teacher
    return SupportedTeacher(teacher, encode_support(teacher, support, dataset.classes, support.fingerprint), wanted)
