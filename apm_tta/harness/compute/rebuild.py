"""Rebuild what computed a run from its manifest: the data set, the teacher, a method."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from apm_tta.data.cards import load_card
from apm_tta.data.dataset import Dataset
from apm_tta.data.sample import parse_condition
from apm_tta.data.task import Task
from apm_tta.errors import UserError
from apm_tta.harness.storage.manifest import Manifest, MethodFields
from apm_tta.methods import METHODS, Method, build_method, build_parameters
from apm_tta.teachers import Teacher, load_teacher


def rebuild_dataset(manifest: Manifest) -> Dataset:
    """Open the run's data set where its manifest says that it lies; see ``has_same_images``.

    Raises:
        UserError: when it cannot be read here.
    """
    recorded, root = manifest.numbers.dataset, manifest.environment.data_root
    data_root = None if root is None else Path(root)
    return Dataset(load_card(recorded.name), data_root, manifest.limit, jpeg_quality=recorded.jpeg_quality)


def has_same_images(manifest: Manifest, dataset: Dataset) -> bool:
    """Return whether a data set has the images of the run, with their labels.

    Raises:
        UserError: when it cannot be read.
    """
    conditions = [parse_condition(text) for text in manifest.numbers.conditions]
    return dataset.fingerprint(conditions) == manifest.numbers.dataset.fingerprint


def rebuild_teacher(manifest: Manifest, device: torch.device) -> Teacher:
    """Load the run's teacher.

    Raises:
        UserError: when its class weights came from labelled images, or its weights are not the run's.
    """
    recorded = manifest.numbers.teacher
    if recorded.classifier == "prototypes":
        raise UserError("the run's class weights came from labelled images, which its folder does not hold")
    identity = recorded.model_dump()
    teacher = load_teacher(recorded.name, device, recorded.classifier)
    if differing := [key for key, value in teacher.identity.items() if identity.get(key) != value]:
        raise UserError(f"teacher {recorded.name} is not the run's: its {', '.join(differing)} differ")
    return teacher


def rebuild_method(manifest: Manifest, name: str, dataset: Dataset, teacher: Teacher, seed: int) -> Method[Any]:
    """Build a method as the run had it.

    Args:
        manifest: of the run.
        name: of the method.
        dataset: see ``rebuild_dataset``.
        teacher: see ``rebuild_teacher``.
        seed: one of the run's.

    Raises:
        UserError: when the method needs what the run's folder does not hold, such as labelled images.
    """
    numbers = manifest.numbers
    task = Task(dataset.classes, dataset.template, dataset.card.family, numbers.crop_scale)
    return build_method(name, teacher, task, _parameters(name, numbers.methods[name]), seed)


def _parameters(name: str, recorded: MethodFields) -> Any:
    """Build a method's parameters from the manifest, which lists them together with what they resolved to."""
    names = {field.name for field in fields(METHODS.get(name).Parameters)}
    chosen = {key: value for key, value in recorded.others.items() if key in names and value is not None}
    templates = recorded.templates if isinstance(recorded.templates, str) else "dataset"
    return build_parameters(name, {**chosen, "templates": templates})
