"""With what images are answered: everything that the usual mistakes change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace

from PIL import Image
from torch import Tensor

from apm_tta.data.dataset import Dataset
from apm_tta.teachers import Teacher
from apm_tta.teachers.preprocessing import Preprocessing


class NotApplicable(Exception):
    """Something cannot be tried; the message says why."""


@dataclass(frozen=True)
class Network:
    """A teacher, or a changed copy of it.

    Attributes:
        name: empty for the teacher as it is.
        images_like: name of the network whose image features are the same; the text tower may differ.
        teacher: itself.
    """

    name: str
    images_like: str
    teacher: Teacher = field(compare=False)


@dataclass(frozen=True)
class Crop:
    """How an image becomes the network's input.

    Attributes:
        name: empty for the teacher's own way.
        transform: makes the input ``(3, S, S)``, normalised, from an RGB image.
        preprocessing: of ``transform``.
    """

    name: str
    transform: Callable[[Image.Image], Tensor] = field(compare=False)
    preprocessing: Preprocessing = field(compare=False)


@dataclass(frozen=True)
class Setup:
    """With what images are answered.

    Attributes:
        templates: the sentences, with ``{}`` for the class.
        names: of the C classes, as they stand in the sentences.
        labels: the class, 0 .. C - 1, that each label of the data set stands for, ``(C,)``.
        network: that encodes.
        crop: that makes its input.
    """

    templates: tuple[str, ...]
    names: tuple[str, ...]
    labels: tuple[int, ...]
    network: Network
    crop: Crop

    @property
    def image_side(self) -> tuple[str, str]:
        """What the image features depend on: setups that share it need the images to be encoded once."""
        return self.network.images_like, self.crop.name

    def joined(self, one: Setup, other: Setup) -> Setup | None:
        """Return this setup with the changes of two others; None where both change the same."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        changes = [
            {name: getattr(each, name) for name in own if getattr(each, name) != own[name]} for each in (one, other)
        ]
        return None if changes[0].keys() & changes[1].keys() else replace(self, **changes[0], **changes[1])


@dataclass(frozen=True)
class Case:
    """What a cause may look at.

    Attributes:
        start: the setup that is outside the interval.
        dataset: whose images were answered.
    """

    start: Setup
    dataset: Dataset

    @property
    def teacher(self) -> Teacher:
        """The teacher as it is."""
        return self.start.network.teacher


def teacher_setup(teacher: Teacher, dataset: Dataset, templates: tuple[str, ...], names: tuple[str, ...]) -> Setup:
    """Return the setup of a run with these templates and class names."""
    return Setup(
        templates,
        names,
        tuple(range(len(dataset.classes))),
        Network("", "", teacher),
        Crop("", teacher.preprocess, teacher.preprocessing),
    )
