"""What a test-time adaptation method receives, answers, and declares about itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

import torch
from PIL import Image
from torch import Tensor

from apm_tta.errors import UserError
from apm_tta.registry import Registry
from apm_tta.teachers import TEMPLATES, Teacher


@dataclass(frozen=True)
class Batch:
    """What a method sees of the test set: images and their ids. There is no label here, and nothing that holds one."""

    ids: tuple[str, ...]
    images: tuple[Image.Image, ...]


@dataclass(frozen=True)
class Predictions:
    """A method's answer for B images of C classes.

    Attributes:
        logits: ``(B, C)``, finite.
        iteration_classes: predicted class after 0 .. T iterations, ``(B, T + 1)``.
        losses: of the method's own objective after 0 .. T iterations, ``(B, T + 1)``.
        cosines: of the adapted feature to the teacher's target after 0 .. T iterations, ``(B, T + 1)``.
    """

    logits: Tensor
    iteration_classes: Tensor | None = None
    losses: Tensor | None = None
    cosines: Tensor | None = None


class Method(ABC):
    """One test-time adaptation method over one teacher and one class list.

    A subclass states ``name``, ``protocol``, ``summary`` and ``Parameters`` (a frozen dataclass, every field with its
    default, range and source), is registered by ``@register``, and implements ``predict``.

    Attributes:
        name: as on the command line and in the results table.
        protocol: ``episodic``: the answer for an image is a function of that image, its id, the seed and nothing else.
            ``online``: it keeps state between images, and the harness calls ``reset`` where the protocol says.
        summary: one line for ``run-bench list methods``.
        Parameters: type of ``parameters``; it has a field ``templates``.
        class_weights: ``(C, F)`` unit rows under the parameters' templates.
    """

    name: ClassVar[str]
    protocol: ClassVar[Literal["episodic", "online"]]
    summary: ClassVar[str]
    Parameters: ClassVar[type[Any]]

    def __init__(
        self, teacher: Teacher, classes: Sequence[str], parameters: Any, seed: int, memory: int | None = None
    ) -> None:
        """
        Args:
            teacher: the frozen encoder.
            classes: names in label order.
            parameters: a ``Parameters``.
            seed: the run's; random draws take it together with the image's id and a purpose.
            memory: bytes that a method which can choose may hold; None is a share of what is free. No answer depends
                on it.
        """
        self.teacher = teacher
        self.classes = tuple(classes)
        self.parameters = parameters
        self.seed = seed
        self.memory = memory
        self.class_weights = teacher.class_weights(classes, TEMPLATES[parameters.templates])

    @abstractmethod
    def predict(self, batch: Batch) -> Predictions:
        """Answers for the images of ``batch``, in its order."""

    def reset(self) -> None:  # noqa: B027  most methods have nothing to forget
        """Forgets whatever earlier images left behind."""

    def resolved(self) -> dict[str, Any]:
        """What the manifest states beyond ``parameters``: values that came from a preset or from the teacher."""
        return {}

    def embed(self, images: Sequence[Image.Image]) -> Tensor:
        """The teacher's embeddings of the images' evaluation crops, ``(B, F)``, not normalised."""
        return embed(self.teacher, images)


def embed(teacher: Teacher, images: Sequence[Image.Image]) -> Tensor:
    """The teacher's embeddings of the images' evaluation crops, ``(B, F)``, not normalised."""
    pixels = torch.stack([teacher.preprocess(image) for image in images]).to(teacher.device)
    with torch.no_grad():
        return teacher.encode_image(pixels)


METHODS: Registry[type[Method]] = Registry("method")
M = TypeVar("M", bound=type[Method])


def register(method: M) -> M:
    """Class decorator: ``run-bench --methods NAME`` finds the class by its ``name`` from here on."""
    METHODS.register(method.name)(method)
    return method


def check_templates(name: str) -> str:
    """``name``, when templates of that name exist.

    Raises:
        ValueError: listing those that exist (pydantic turns it into its own error).
    """
    if name not in TEMPLATES:
        raise ValueError(f"unknown templates {name!r}; there are: {', '.join(sorted(TEMPLATES))}")
    return name


def check_logits(method: str, predictions: Predictions, batch: Batch, classes: int) -> None:
    """Refuses an answer that would become a wrong number.

    Raises:
        UserError: when logits have another shape than ``(B, C)`` or are not finite.
    """
    expected = (len(batch.ids), classes)
    if tuple(predictions.logits.shape) != expected:
        raise UserError(f"method {method} answered logits of shape {tuple(predictions.logits.shape)}, not {expected}")
    finite = predictions.logits.isfinite().all(1)
    if not bool(finite.all()):
        first = batch.ids[int((~finite).nonzero()[0])]
        raise UserError(f"method {method} answered logits that are not finite, first for image {first}")
