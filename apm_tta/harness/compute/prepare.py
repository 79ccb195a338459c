"""From a request to what it names: data set, teacher and methods, and the resulting work."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import torch

from apm_tta.data.dataset import Dataset
from apm_tta.data.sample import Condition
from apm_tta.data.support_images import SupportImages
from apm_tta.data.task import Task
from apm_tta.errors import UserError
from apm_tta.harness.compute.streamed import streamed
from apm_tta.harness.plan import (
    EPISODIC,
    TRANSDUCTIVE,
    Cell,
    Work,
    apart_from_foreign,
    plan_shards,
    plan_streams,
)
from apm_tta.harness.request.run_request import RunRequest
from apm_tta.harness.request.suite import Suite
from apm_tta.method_rows import is_variant
from apm_tta.methods import Method, build_method
from apm_tta.methods.preparation import Preparation
from apm_tta.methods.shared_values import evaluation_crops
from apm_tta.methods.stated import stated_parameters
from apm_tta.teachers import Teacher, load_teacher
from apm_tta.teachers.crops import taking_crops
from apm_tta.teachers.learned_prompts import PromptedTeacher, read_context
from apm_tta.teachers.support_features import SupportedTeacher, encode_support


@dataclass(frozen=True)
class Prepared:
    """A request together with what it names: read, built, and checked to fit together.

    Attributes:
        request: the request.
        dataset: the data set with the images.
        teacher: the frozen encoder.
        seeded: methods by the name of their row and by seed, in the order of the table.
        left_out: methods that cannot work with the teacher, with the reason, where all methods were requested.
    """

    request: RunRequest
    dataset: Dataset
    teacher: Teacher
    seeded: dict[tuple[str, int], Method[Any]]
    left_out: dict[str, str]

    @property
    def methods(self) -> dict[str, Method[Any]]:
        """The methods of the first seed by name, in the order of the table."""
        first = self.request.suite.seeds[0]
        return {name: method for (name, seed), method in self.seeded.items() if seed == first}

    @cached_property
    def asked(self) -> dict[tuple[str, int], Method[Any]]:
        """The methods as they are asked for answers, by row and seed; see ``streamed``."""
        streaming = self.request.suite.streaming
        return {key: streamed(method, streaming) for key, method in self.seeded.items()}

    @property
    def remarks(self) -> list[str]:
        """Say what a reader should know about methods whose settings are those of their authors' scripts."""
        published = ((name, method, type(method).published) for name, method in self.methods.items())
        return [
            own.remark(name)
            for name, method, own in published
            if own is not None and method.parameters.preset == "published"
        ]

    def preparations(self, methods: Iterable[Method[Any]]) -> list[Preparation]:
        """Return what loading processes make of every image for ``methods``, each once."""
        wanted = [evaluation_crops(self.teacher), *(each for method in methods for each in method.preparations())]
        return list({each.key: each for each in wanted}.values())


def open_data(request: RunRequest) -> Dataset:
    """Open the data set, and check every condition of the request against the files on disk.

    Raises:
        UserError: one line for anything that is missing, or not as the card states.
    """
    suite = request.suite
    foreign = None if request.foreign is None else Dataset(*request.foreign, suite.limit)
    options: dict[str, Any] = {"jpeg_quality": suite.jpeg_quality, "subset": suite.subset}
    dataset = Dataset(request.card, request.data_root, suite.limit, foreign=foreign, **options)
    dataset.check_conditions(request.conditions)
    for condition in request.every_condition:
        dataset.entries(condition)
    return dataset


def prepare(request: RunRequest, device: torch.device, dataset: Dataset | None = None) -> Prepared:
    """Read and build what ``request`` names.

    Args:
        request: the request.
        device: device of the teacher.
        dataset: result of ``open_data``, where it has been called already.

    Raises:
        UserError: one line for anything that cannot be carried out.
    """
    dataset = dataset or open_data(request)
    teacher = taking_crops(_teacher(request, dataset, device), dataset.crop_side(request.conditions))
    card = dataset.card
    task = Task(dataset.classes, card.template, card.family, request.suite.crop_scale, card.name)
    seeded: dict[tuple[str, int], Method[Any]] = {}
    left_out = {}
    for name, parameters in request.parameters.items():
        built = {}
        try:
            for seed in request.suite.seeds:
                built[name, seed] = build_method(name, teacher, task, parameters, seed, request.memory)
                _refuse_window(built[name, seed], request)
                _refuse_streams(built[name, seed], request, dataset)
        except UserError as error:
            if request.every_method:
                left_out[name] = str(error)
            elif name in request.suite.methods:
                raise
        else:
            seeded |= built
    _refuse_idle_options(seeded.values(), request.suite)
    _refuse_equal_rows([seeded[name, request.suite.seeds[0]] for name in dict.fromkeys(name for name, _ in seeded)])
    return Prepared(request, dataset, teacher, seeded, left_out)


def plan(prepared: Prepared) -> tuple[list[Cell], list[Work]]:
    """Return every cell of the run, and every shard and stream, in a fixed order."""
    request, suite = prepared.request, prepared.request.suite
    samples = _samples(request, prepared.dataset)
    online = {name: method.stream_batch for name, method in prepared.methods.items() if method.protocol == "online"}
    settings = {"episodic": EPISODIC, "online": str(suite.streaming), "transductive": TRANSDUCTIVE}
    cells = [
        Cell(suite.dataset, condition, suite.teacher, name, seed, settings[method.protocol])
        for condition in request.every_condition
        for name, method in prepared.methods.items()
        for seed in suite.seeds
    ]

    def of(protocol: str) -> list[Cell]:
        return [cell for cell in cells if prepared.methods[cell.method].protocol == protocol]

    shards = plan_shards(of("episodic"), samples, suite.shard_size)
    whole = plan_shards(of("transductive"), samples, max(samples.values()))
    streams = [
        stream
        for part in apart_from_foreign(samples)
        for stream in plan_streams(of("online"), part, suite.streaming, online)
    ]
    return cells, [*shards, *whole, *streams]


def _samples(request: RunRequest, dataset: Dataset) -> dict[Condition, int]:
    return {condition: len(dataset.entries(condition)) for condition in request.every_condition}


def _refuse_equal_rows(methods: Sequence[Method[Any]]) -> None:
    """Refuse two rows of one method under the same parameters: a setting that is the default already, or one too many.

    Raises:
        UserError: naming both. Exit code 2.
    """
    first: dict[str, str] = {}
    for method in methods if any(is_variant(method.given.row) for method in methods) else ():
        row = method.given.row
        resolved = {**asdict(method.parameters), **stated_parameters(method)}
        other = first.setdefault(f"{type(method).name} {resolved}", row)
        if other != row:
            raise UserError(
                f"{other} and {row} are one and the same: all of their parameters are equal; leave one of them out",
                exit_code=2,
            )


def _refuse_idle_options(methods: Iterable[Method[Any]], suite: Suite) -> None:
    """Refuse what is asked of streams in a run that has none.

    Raises:
        UserError: naming the option. Exit code 2.
    """
    streaming = suite.streaming
    asked = {"window": streaming.window, "reset": streaming.every, **suite.stream}
    if any(method.protocol == "online" for method in methods):
        return
    for name, value in asked.items():
        if value is not None:
            raise UserError(
                f"--{name.replace('_', '-')} {value} has no effect: none of the methods is online; leave it out",
                exit_code=2,
            )


def _refuse_window(method: Method[Any], request: RunRequest) -> None:
    """Refuse a sliding window over a method that takes its images one by one, or that cannot begin with one image.

    Raises:
        UserError: naming the method. Exit code 2.
    """
    window = request.suite.window
    if window is None or method.protocol != "online":
        return
    if method.stream_batch is None:
        raise UserError(
            f"--window {window} has no effect on method {method.given.row}, which takes images one by one; leave one "
            "of them out",
            exit_code=2,
        )
    if method.least_batch > 1:
        raise UserError(
            f"--window {window} begins with a single image, and method {method.given.row} needs {method.least_batch} "
            f"images at once over teacher {method.teacher.name}; choose another teacher, or leave --window out",
            exit_code=2,
        )


def _refuse_streams(method: Method[Any], request: RunRequest, dataset: Dataset) -> None:
    """Refuse a method whose streams cannot be, or have a batch that is smaller than it can answer.

    Raises:
        UserError: naming the setting, or the batch. Exit code 2.
    """
    if method.protocol != "online":
        return
    setting, batch = request.suite.streaming.setting, request.suite.window or method.stream_batch
    for condition in request.every_condition:
        setting.check_images(dataset.entries(condition), batch)
    if method.least_batch == 1:
        return
    samples = _samples(request, dataset)
    size = method.stream_batch or request.suite.batch_size
    reset = request.suite.streaming.reset
    streams = (setting.between_resets(part, reset) for part in apart_from_foreign(samples))
    for conditions in itertools.chain.from_iterable(streams):
        total = sum(samples[condition] for condition in setting.passes(conditions))
        last = total % size or min(size, total)
        if 0 < last < method.least_batch:
            raise UserError(
                f"method {method.given.row} needs {method.least_batch} images at once over teacher "
                f"{method.teacher.name}, and the last batch of a stream of {total} would have {last}",
                exit_code=2,
                advice="choose another number of images per batch, or another --limit",
            )


def _teacher(request: RunRequest, dataset: Dataset, device: torch.device) -> Teacher:
    """Load the teacher, with the labelled images that its class weights or its neighbours come from.

    Raises:
        UserError: for prototypes without a support. Exit code 2.
    """
    suite, name = request.suite, request.teacher
    support = None if request.support is None else SupportImages(request.support, dataset, suite.shots)
    teacher: Teacher = load_teacher(name, device, suite.classifier, allow_code=request.allow_code)
    if request.prompts is not None:
        teacher = PromptedTeacher(teacher, read_context(request.prompts))
    classifier = teacher.classifier
    if support is None:
        if classifier == "prototypes":
            raise UserError(
                f"teacher {name.name} takes its class weights from labelled images; give --support FOLDER, "
                "one folder per class",
                exit_code=2,
            )
        return teacher
    features = encode_support(teacher, support, dataset.classes, support.fingerprint)
    return SupportedTeacher(teacher, features, classifier)
