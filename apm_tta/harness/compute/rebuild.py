"""Rebuild what computed a run from its manifest: the data set, the teacher, a method."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from apm_tta.data.cards import load_card
from apm_tta.data.dataset import Dataset
from apm_tta.data.image_digests import ImageDigests
from apm_tta.data.sample import parse_condition
from apm_tta.data.task import Task
from apm_tta.errors import UserError
from apm_tta.harness.compute.streamed import streamed
from apm_tta.harness.storage.manifest import Manifest, MethodFields, StreamFields
from apm_tta.method_rows import method_of
from apm_tta.methods import Method, build_method, build_parameters
from apm_tta.methods.base import find_method
from apm_tta.teachers import Teacher, load_teacher
from apm_tta.teachers.crops import CROPS, taking_crops
from apm_tta.teachers.descriptions import SUFFIX as DESCRIPTIONS_SUFFIX
from apm_tta.teachers.descriptions import descriptions_text
from apm_tta.teachers.learned_prompts import PromptedTeacher, read_context
from apm_tta.teachers.templates import DATASET, DESCRIPTIONS, FILE


def rebuild_dataset(manifest: Manifest) -> Dataset:
    """Open the run's data set where its manifest says that it lies; see ``has_same_images``.

    Raises:
        UserError: when it cannot be read here.
    """
    recorded, root = manifest.numbers.dataset, manifest.data_root
    data_root = None if root is None else Path(root)
    card, jpeg_quality = load_card(recorded.name), recorded.jpeg_quality
    return Dataset(card, data_root, manifest.limit, jpeg_quality=jpeg_quality, subset=recorded.named_subset)


def has_same_images(manifest: Manifest, dataset: Dataset, digests: ImageDigests | None) -> bool:
    """Return whether a data set has the images and classes of the run; those that are another's are not read then.

    Args:
        manifest: of the run.
        dataset: to compare.
        digests: of the run's images, with which the data set compares every image as it reads it; None where the run
            folder has lost them.

    Raises:
        UserError: when it cannot be read.
    """
    recorded = manifest.numbers.dataset
    conditions = [parse_condition(text) for text in manifest.numbers.conditions]
    if digests is None or dataset.classes != recorded.class_names:
        return False
    dataset.expect(digests)
    return dataset.fingerprint(conditions) == recorded.fingerprint


def rebuild_teacher(manifest: Manifest, device: torch.device, allow_code: bool = False) -> Teacher:
    """Load the run's teacher.

    Args:
        manifest: of the run.
        device: where it computes.
        allow_code: whether a teacher ``module:...``, which is code, may be imported and run.

    Raises:
        UserError: when its class weights came from labelled images; when its weights, prompts or code are not the
            run's, or not available here.
    """
    recorded = manifest.numbers.teacher
    if recorded.classifier == "prototypes":
        raise UserError("the run's class weights came from labelled images, which its folder does not hold")
    prompted = recorded.classifier == "prompts"
    if prompted and manifest.prompts is None:
        raise UserError(
            "the run's class weights came from learned prompts, and its folder does not say where these lie"
        )
    identity = recorded.model_dump()
    classifier = "text" if prompted else recorded.classifier
    teacher: Teacher = load_teacher(recorded.name, device, classifier, allow_code=allow_code)
    if prompted:
        teacher = PromptedTeacher(teacher, read_context(Path(str(manifest.prompts))))
    if differing := [key for key, value in teacher.identity.items() if identity.get(key) != value]:
        raise UserError(f"teacher {recorded.name} is not the run's: its {', '.join(differing)} differ")
    return taking_crops(teacher, teacher.image_size if CROPS in identity else None)


def rebuild_method(manifest: Manifest, name: str, teacher: Teacher, seed: int) -> Method[Any]:
    """Build a method as the run had it, with the classes and sentences that the manifest states.

    Args:
        manifest: of the run.
        name: of the method's row.
        teacher: see ``rebuild_teacher``.
        seed: one of the run's.

    Raises:
        UserError: when the method needs what the run's folder does not hold, such as labelled images.
    """
    numbers, recorded = manifest.numbers, manifest.numbers.methods[name]
    card = load_card(numbers.dataset.name)
    template = recorded.sentences[0] if recorded.templates == DATASET else card.template
    task = Task(numbers.dataset.class_names, template, card.family, numbers.crop_scale)
    with TemporaryDirectory() as folder:
        parameters = _parameters(name, recorded, Path(folder) / "templates.txt")
        method = build_method(name, teacher, task, parameters, seed)
    return streamed(method, numbers.streams.streaming) if isinstance(numbers.streams, StreamFields) else method


def _parameters(name: str, recorded: MethodFields, file: Path) -> Any:
    """Build a method's parameters from the manifest, which lists them together with what they resolved to.

    Args:
        name: of the method's row.
        recorded: what the manifest states of it.
        file: where to write the sentences of a user's file, which may be another one by now, for the method to read.
    """
    names = {field.name for field in fields(find_method(name).Parameters)}
    chosen = {key: value for key, value in recorded.others.items() if key in names and value is not None}
    templates = recorded.templates
    if templates in (FILE, DESCRIPTIONS):
        described = templates == DESCRIPTIONS
        file = file.with_suffix(DESCRIPTIONS_SUFFIX) if described else file
        text = descriptions_text(recorded.sentences) if described else "\n".join(recorded.sentences)
        file.write_text(text, encoding="utf-8")
        templates = str(file)
    return build_parameters(method_of(name), {**chosen, "templates": templates})
