"""Whether a GPU answers as the CPU does, but for what rounding decides on the CPU too."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from apm_tta.data.dataset import open_dataset
from apm_tta.data.sample import Condition
from apm_tta.data.task import Task
from apm_tta.methods import METHODS, Batch, build_method, build_parameters
from apm_tta.methods.answering import answer
from apm_tta.methods.batch import Shared
from apm_tta.teachers import LazyTeacher, Teacher, load_teacher
from apm_tta.teachers.base import Source
from apm_tta.teachers.names import families
from apm_tta.teachers.support_features import SupportedTeacher, encode_support
from benchmarks.gpu.section import Found, Section, Setting

MOVED = 1e-6
"""By how much pixels, normalised, are moved to find images whose answer rounding decides."""
ALLOWED = 0.005
_CPU = torch.device("cpu")
_CONDITION = Condition("contrast", 5)
_BATCH, _LABELLED = 50, 60
_SETTINGS: dict[str, dict[str, Any]] = {name: {"views": 16} for name in ("memo", "mta", "tps", "tpt", "vte", "zero")}


def measure(setting: Setting) -> Found:
    """Compare every method's predictions on the CPU, on the CPU with moved pixels, and on the device."""
    found = Found(("method", "images", "differing", "of these also by moved pixels", "moved pixels alone"))
    images = _Images(setting.sizes.answers)
    teachers = images.teacher(_CPU), images.teacher(_CPU, moved=True), images.teacher(setting.device)
    names = setting.sizes.methods or METHODS.names()
    for name in (each for each in names if each != "norm"):  # the teacher has no BatchNorm
        chosen = {**_SETTINGS.get(name, {}), **setting.sizes.settings.get(name, {})}
        on_cpu, moved, on_device = (images.predictions(name, chosen, teacher) for teacher in teachers)
        differing, unstable = on_device != on_cpu, moved != on_cpu
        count, explained = int(differing.sum()), int((differing & unstable).sum())
        found.rows.append((name, len(on_cpu), count, explained, int(unstable.sum())))
        if count > explained:
            found.failed.append(f"{name} answers {count - explained} images otherwise, and not because of rounding")
        if count > ALLOWED * len(on_cpu):
            found.failed.append(f"{name} answers {count} of {len(on_cpu)} images otherwise, more than {ALLOWED:.1%}")
    found.remarks.append(
        f"Embedded teacher, {_CONDITION}, float32, 16 views. An image may differ only where the CPU's own answer "
        f"changes when normalised pixels move by {MOVED:g}; at most {ALLOWED:.1%} may."
    )
    return found


class _Images:
    """Images of the embedded data set, and as many more as give each class a labelled one.

    Args:
        count: number of images that are answered.
    """

    def __init__(self, count: int) -> None:
        self._dataset = open_dataset("fashion-mnist", limit=count + _LABELLED)
        entries = self._dataset.entries(_CONDITION)
        read = [(entry, self._dataset.read(entry, _CONDITION).image) for entry in entries]
        self._tested, self._labelled = read[:count], read[count:]
        card = self._dataset.card
        self._task = Task(self._dataset.classes, card.template, card.family, (0.5, 1.0))

    def teacher(self, device: torch.device, moved: bool = False) -> Teacher:
        """Load a teacher, with the labelled images that one method needs."""
        teacher = LazyTeacher(_moving(), device, None) if moved else load_teacher("embedded", device, cache=None)
        labelled = [(image, entry.label) for entry, image in self._labelled]
        support = encode_support(teacher, labelled, self._dataset.classes, "0" * 64)
        return SupportedTeacher(teacher, support, "text")

    def predictions(self, name: str, settings: dict[str, Any], teacher: Teacher) -> Tensor:
        """Return the classes that a method predicts, ``(N,)``."""
        found = []
        with torch.no_grad():
            method = build_method(name, teacher, self._task, build_parameters(name, settings), 0)
            size = method.stream_batch or _BATCH
            for start in range(0, len(self._tested), size):
                entries, images = zip(*self._tested[start : start + size], strict=True)
                batch = Batch(tuple(entry.id for entry in entries), images, Shared(teacher.device))
                found.append(answer(method, batch).predictions.logits.argmax(1))
        return torch.cat(found)


def _moving() -> Source:
    """Find the embedded teacher with an encoder that sees each pixel moved, up or down, as does every copy of it."""
    embedded = families().get("embedded")("embedded", "text")
    size = embedded.preprocessing.size
    signs = torch.randint(0, 2, (3, size, size), generator=torch.Generator().manual_seed(1)) * 2.0 - 1.0

    def build(device: torch.device) -> Teacher:
        teacher, moves = embedded.build(device), MOVED * signs.to(device)
        teacher.image_encoder.register_forward_pre_hook(lambda _, given: (given[0] + moves, *given[1:]))
        return teacher

    return replace(embedded, build=build)


SECTION = Section(
    "Answers",
    "every method's predictions with the embedded teacher on 200 images, CPU against CUDA: equal, but for images whose "
    "answer on the CPU also changes when pixels are moved by 1e-6, at most 0.5 %",
    measure,
)
