"""From a suite to what it names: data set, teacher, methods, and the work that they make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from apm_tta.data.cards import load_card
from apm_tta.data.dataset import Dataset
from apm_tta.data.layouts import LAYOUTS
from apm_tta.data.sample import Condition
from apm_tta.data.support_images import SupportImages
from apm_tta.data.task import Task
from apm_tta.errors import UserError
from apm_tta.harness.plan import EPISODIC, Cell, Work, check_setting, plan_shards, plan_streams
from apm_tta.harness.request.run_request import Request
from apm_tta.harness.request.suite import Suite
from apm_tta.methods import METHODS, Method, build_parameters
from apm_tta.teachers import Teacher, check_teacher_name, load_teacher
from apm_tta.teachers.base import Classifier
from apm_tta.teachers.support_features import SupportedTeacher, encode_support


@dataclass(frozen=True)
class Opened:
    """A data set and the conditions of a suite, which are there."""

    dataset: Dataset
    conditions: list[Condition]


@dataclass(frozen=True)
class Prepared:
    """A suite with what it names: read, built, and checked to fit together.

    Attributes:
        dataset: where samples come from.
        conditions: in the order of the table.
        teacher: the frozen encoder.
        methods: by name, in the order of the table, for the first seed.
        seeded: the same for every seed.
        left_out: methods that cannot work with the teacher, where every one was asked for; and why.
    """

    dataset: Dataset
    conditions: list[Condition]
    teacher: Teacher
    methods: dict[str, Method]
    seeded: dict[tuple[str, int], Method]
    left_out: dict[str, str]


def open_data(suite: Suite, request: Request) -> Opened:
    """The data set and the conditions of a suite, checked against what lies on disk.

    Raises:
        UserError: one line for anything that cannot be understood or is not there.
    """
    conditions = suite.conditions()
    check_setting(suite.setting, suite.resets)
    card = load_card(suite.dataset)
    # A root in the environment is for the sets that lie somewhere, not for one that the package carries.
    root = None if LAYOUTS.get(card.layout).carried and request.root_from_environment else request.data_root
    dataset = Dataset(card, root, suite.limit, jpeg_quality=suite.jpeg_quality)
    dataset.check_conditions(conditions)
    for condition in conditions:
        dataset.entries(condition)
    return Opened(dataset, conditions)


def prepare(suite: Suite, request: Request, device: torch.device, opened: Opened | None = None) -> Prepared:
    """Reads and builds what ``suite`` names; whatever can be wrong is found before the teacher is loaded.

    Args:
        suite: what is asked for.
        request: where the data lie.
        device: where the teacher computes.
        opened: what ``open_data`` gave, where it was asked already.

    Raises:
        UserError: one line for anything that cannot be understood or carried out.
    """
    suite, parameters, every = _with_methods(suite)
    check_teacher_name(suite.teacher)
    opened = opened or open_data(suite, request)
    dataset, conditions = opened.dataset, opened.conditions
    teacher = _teacher(suite, request, dataset, device)
    task = Task(dataset.classes, dataset.card.template, dataset.card.family, suite.crop_scale)
    memory = None if request.memory is None else int(request.memory * 2**30)
    seeded: dict[tuple[str, int], Method] = {}
    left_out = {}
    for name, chosen in parameters.items():
        try:
            for seed in suite.seeds:
                seeded[name, seed] = METHODS.get(name)(teacher, task, chosen, seed, memory)
        except UserError as error:
            if not every:
                raise
            left_out[name] = str(error)
    methods = {name: method for (name, seed), method in seeded.items() if seed == suite.seeds[0]}
    return Prepared(dataset, conditions, teacher, methods, seeded, left_out)


def plan(suite: Suite, prepared: Prepared) -> tuple[list[Cell], list[Work]]:
    """Every cell of the run, and every shard and stream, in a fixed order."""
    samples = {condition: len(prepared.dataset.entries(condition)) for condition in prepared.conditions}
    online = {name: method.stream_batch for name, method in prepared.methods.items() if method.protocol == "online"}
    cells = [
        Cell(suite.dataset, condition, suite.teacher, name, seed, suite.setting if name in online else EPISODIC)
        for condition in prepared.conditions
        for name in prepared.methods
        for seed in suite.seeds
    ]
    episodic = [cell for cell in cells if cell.method not in online]
    streamed = [cell for cell in cells if cell.method in online]
    shards = plan_shards(episodic, samples, suite.shard_size)
    return cells, [*shards, *plan_streams(streamed, samples, suite.setting, suite.resets, online)]


def check_methods(suite: Suite) -> None:
    """Refuses methods and settings that do not exist, before anything is read.

    Raises:
        UserError: one line. Exit code 2.
    """
    _with_methods(suite)


def _with_methods(suite: Suite) -> tuple[Suite, dict[str, Any], bool]:
    """The suite with every method named, parameters by method, and whether ``all`` was asked for."""
    every = suite.methods == ("all",)
    if every:
        suite = suite.model_copy(update={"methods": tuple(METHODS.names())})
    parameters = {name: build_parameters(name, suite.settings.get(name, {})) for name in suite.methods}
    for name, chosen in list(parameters.items()):
        for other in METHODS.get(name).beside(chosen):
            parameters.setdefault(other, build_parameters(other, suite.settings.get(other, {})))
    return suite, parameters, every


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
