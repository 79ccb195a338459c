"""A tree of images whose right answers are known: those of a right run, but for every fifth image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from apm_tta.data.dataset import open_dataset
from apm_tta.data.sample import CLEAN, Condition
from apm_tta.teachers import load_teacher

IMAGES = 100
TEACHER = "embedded"
TEMPLATE = "a photo of a {}."
CORRUPTED = Condition("contrast", 2)  # so that the teacher is unsure, and a small fault moves answers
SHARE = 80.0
"""Percent of the labels that are the right run's answers."""


@dataclass(frozen=True)
class Pictures:
    """Images that are wider than high, the class of each, and the classes' names."""

    images: tuple[Image.Image, ...]
    labels: tuple[int, ...]
    names: tuple[str, ...]

    def write(self, root: Path, lines: Sequence[str] | None = None) -> Path:
        """Write the tree: folders k01, k02, ..., and ``classes.txt`` with these lines, or the names."""
        counts: dict[int, int] = {}
        for image, label in zip(self.images, self.labels, strict=True):
            folder = root / folder_of(label)
            folder.mkdir(parents=True, exist_ok=True)
            counts[label] = counts.get(label, 0) + 1
            image.save(folder / f"{counts[label]}.png")
        own = [f"{folder_of(label)}\t{name}" for label, name in enumerate(self.names)]
        (root / "classes.txt").write_text("\n".join(lines or own), encoding="utf-8")
        return root


def folder_of(label: int) -> str:
    return f"k{label + 1:02}"


def answers(
    images: Sequence[Image.Image],
    names: Sequence[str],
    transform: Callable[[Image.Image], Tensor] | None = None,
    teacher_name: str = TEACHER,
) -> list[int]:
    """Answer images with a teacher, without any code of ``verify``."""
    teacher = load_teacher(teacher_name)
    with torch.no_grad():
        features = teacher.encode_image(torch.stack([(transform or teacher.preprocess)(image) for image in images]))
        found: list[int] = (features @ teacher.class_weights(names, [TEMPLATE]).T).argmax(1).tolist()
    return found


def label_by(teacher_name: str, images: Sequence[Image.Image], names: Sequence[str]) -> Pictures:
    """Label images as a teacher answers, every fifth otherwise; classes that it never answers are left out."""
    found = answers(images, names, teacher_name=teacher_name)
    used = sorted(set(found))
    labels = [(used.index(answer) + (index % 5 == 4)) % len(used) for index, answer in enumerate(found)]
    return Pictures(tuple(images), tuple(labels), tuple(names[label] for label in used))


def draw_pictures() -> Pictures:
    """Paste images of clothes onto noise, and label them by the embedded teacher."""
    dataset = open_dataset("fashion-mnist", limit=IMAGES)
    draws, images = np.random.default_rng(0), []
    for entry in dataset.entries(CLEAN):
        canvas = Image.fromarray(draws.integers(0, 90, (70, 100, 3), dtype=np.uint8))
        canvas.paste(dataset.read(entry, CORRUPTED).image.resize((70, 70)), (15, 0))
        images.append(canvas)
    pictures = label_by(TEACHER, images, dataset.classes)
    assert pictures.names == dataset.classes
    return pictures
