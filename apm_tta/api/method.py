"""Use one method by itself: load it over a teacher, call it on images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor

from apm_tta.api.images import batches
from apm_tta.data.decoding import VIEWER, Reading
from apm_tta.data.task import Family, Task
from apm_tta.errors import UserError
from apm_tta.harness.compute.answer_columns import answer_columns
from apm_tta.harness.compute.spot_check import answer_alone, refuse_other_answers
from apm_tta.harness.request.limits import MOST_IMAGES, MOST_MEMORY, PRECISIONS
from apm_tta.methods import Batch, Method, Predictions, build_method, build_parameters
from apm_tta.methods.answering import answer, failures_named, reset
from apm_tta.methods.base import find_method
from apm_tta.methods.batch import Shared
from apm_tta.plain_data import LARGEST
from apm_tta.precision import autocast, float32_products, refuse_without_gpu
from apm_tta.teachers import Teacher, load_teacher

_BATCH_SIZE = 64
_FAMILIES = ("imagenet", "fine-grained", "cifar", "other")


@dataclass(frozen=True)
class ImagePredictions:
    """What a method predicts for B images of C classes.

    Attributes:
        ids: the images' ids, given or derived from their pixels, ``(B,)``.
        class_names: predicted class of each image, ``(B,)``.
        confidences: softmax probability of the predicted class, ``(B,)``, float32; of methods that vote
            (``Method.votes``) the share of votes.
        logits: ``(B, C)``, on the CPU.
        classes: the names of the C classes.
        table: the columns of a run's records that belong to a prediction, one row per image.
    """

    ids: tuple[str, ...]
    class_names: tuple[str, ...]
    confidences: Tensor
    logits: Tensor
    classes: tuple[str, ...]
    table: pd.DataFrame

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        pairs = [
            f"{name} {confidence:.3f}" for name, confidence in zip(self.class_names, self.confidences, strict=True)
        ]
        return f"<{len(self)} predictions: {', '.join(pairs[:5])}{', ...' if len(self) > 5 else ''}>"


class LoadedMethod:
    """A method over one teacher and one list of classes; call it on images.

    Attributes:
        method: the method itself.
        batch_size: images that it sees at once.
    """

    def __init__(self, method: Method[Any], precision: str, batch_size: int, reading: Reading = VIEWER) -> None:
        self.method = method
        self.batch_size = method.stream_batch or batch_size
        self._precision = precision
        self._reading = reading
        self._asked = False

    def __call__(self, images: Any, ids: Sequence[str] | None = None) -> ImagePredictions:
        """Predict the classes of images.

        Every random draw depends on the seed and the image's id. Predictions are bit for bit those that a run records
        for the same images, ids, classes, template, family, crop scale, seed, precision and batches, on the same
        device and number of threads. An ``online`` method remembers what it has seen until ``reset``; a
        ``transductive`` one answers all images of a call together.

        Args:
            images: one or several: paths, PIL images, ``uint8`` RGB arrays ``(H, W, 3)``; anything else is refused.
                A generator is read batch by batch. Files and PIL images are read as a viewer shows them: upright, on
                white, in sRGB, all levels scaled to 8 bits; those of a run's method as the run read its own.
            ids: one per image; unless given the SHA-256 of each image's decoded pixels (``pixel_digest``), so that an
                image has the same random views wherever it comes from.

        Raises:
            UserError: for what is not an image or cannot be read, and when the method fails, naming the images.
        """
        method, names = self.method, list[str]()
        logits, tables = [], []
        size = MOST_IMAGES if method.protocol == "transductive" else self.batch_size
        for part_ids, part in batches(images, ids, size, self._reading):
            batch = Batch(part_ids, part, Shared(method.given.teacher.device))
            predicted, table = self._predict(batch)
            names += part_ids
            logits.append(predicted)
            tables.append(table)
        classes = method.given.task.classes
        if not tables:
            none = torch.empty(0, len(classes))
            logits, tables = [none], [answer_columns(Predictions(none), none.argmax(1))]
        table = pa.concat_tables(tables).combine_chunks()
        best = table["prediction"].to_pylist()
        frame: pd.DataFrame = table.to_pandas()
        frame.insert(0, "id", names)
        return ImagePredictions(
            ids=tuple(names),
            class_names=tuple(classes[index] for index in best),
            confidences=torch.tensor(table["confidence"].to_numpy()),
            logits=torch.cat(logits),
            classes=classes,
            table=frame,
        )

    def reset(self) -> None:
        """Forget whatever earlier images left behind."""
        reset(self.method)

    def _predict(self, batch: Batch) -> tuple[Tensor, Any]:
        method, where = self.method, " to ".join(dict.fromkeys((batch.ids[0], batch.ids[-1])))
        checked = not self._asked and len(batch) > 1
        device = method.given.teacher.device
        products = float32_products(self._precision, device), autocast(self._precision, device)
        with torch.no_grad(), products[0], products[1], failures_named(method.given.row, where):
            alone = answer_alone(method, batch) if checked else []
            together = answer(method, batch, thorough=not self._asked)
            if alone:
                refuse_other_answers(method, batch, alone, [together])
        self._asked = True
        return together.predictions.logits.cpu(), answer_columns(together.predictions, together.teacher.argmax(1))

    def __repr__(self) -> str:
        method, row = self.method, self.method.given.row
        return f"<Method {row} over {method.teacher.name}, {len(method.classes)} classes: {method.parameters}>"


def load_method(
    name: str,
    teacher: Teacher | str = "embedded",
    classes: Sequence[str] | None = None,
    *,
    seed: int = 0,
    template: str = "a photo of a {}.",
    family: Family = "other",
    crop_scale: tuple[float, float] = (0.08, 1.0),
    precision: str = "float32",
    batch_size: int | None = None,
    memory: float | None = None,
    **parameters: Any,
) -> LoadedMethod:
    """Load one method over a teacher, ready to be called on images.

    Args:
        name: as ``run-bench list methods`` prints it, or a variant of it such as ``apm[iterations=60]``.
        teacher: what ``load_teacher`` returns, or its name.
        classes: class names in label order; None takes a network's own.
        seed: random seed.
        template: the prompt that ``templates="dataset"`` stands for, with ``{}`` for the class.
        family: chooses the defaults that papers give by data set: ``imagenet``, ``fine-grained``, ``cifar``, ``other``.
        crop_scale: smallest and largest share of an image's area that a random view shows.
        precision: of products: ``float32``; ``tf32``, on GPUs; ``bfloat16``, by autocast.
        batch_size: images at a time: the parameter of that name where the method has it; 64 where it has none.
        memory: GiB that a method which can choose may hold; a share of what is free unless given.
        parameters: of the method, as after ``--set NAME.``.

    Raises:
        UserError: with the line that the command would print.

    Example:
        >>> import apm_tta, numpy
        >>> mta = apm_tta.load_method("mta", "embedded", classes=["trouser", "sneaker"], views=8)
        >>> predicted = mta(numpy.zeros((28, 28, 3), "uint8"))
        >>> len(predicted), predicted.logits.shape
        (1, torch.Size([1, 2]))
    """
    _check(precision in PRECISIONS, f"precision {precision!r} does not exist; choose from {', '.join(PRECISIONS)}")
    _check(family in _FAMILIES, f"family {family!r} does not exist; choose from {', '.join(_FAMILIES)}")
    _check(
        batch_size is None or (type(batch_size) is int and 0 < batch_size <= MOST_IMAGES),
        f"batch_size {batch_size!r} is not a whole number from 1 to {MOST_IMAGES}, such as 64",
    )
    _check(type(seed) is int and 0 <= seed <= LARGEST, f"seed {seed!r} is not a whole number from 0 to {LARGEST}")
    _check(isinstance(name, str), f"method must be a name, got {type(name).__name__}")
    _check(isinstance(template, str), f"template {template!r} is not a text")
    _check(
        _is_crop_scale(crop_scale), f"crop_scale {crop_scale!r} is not a pair of shares, 0 < smallest <= largest <= 1"
    )
    held = type(memory) in (int, float) and 0 < float(memory or 0) <= MOST_MEMORY
    _check(memory is None or held, f"memory {memory!r} is not a number above 0 and up to {MOST_MEMORY}, such as 8")
    found = load_teacher(teacher) if isinstance(teacher, str) else teacher
    _check(
        hasattr(found, "class_weights") and hasattr(found, "encode_image"),
        f"teacher must be a name or what load_teacher returns, got {type(found).__name__}",
    )
    names = getattr(found, "classes", None) if classes is None else classes
    _check(names is not None, f"teacher {found.name} needs class names: load_method({name!r}, teacher, classes=[...])")
    _check(not isinstance(names, str), "classes must be a list of names, not a single string")
    listed = tuple(names) if isinstance(names, Iterable) else ()
    _check(
        bool(listed) and all(isinstance(each, str) for each in listed), "classes must be a non-empty list of strings"
    )
    refuse_without_gpu(precision, found.device)
    own = tuple(getattr(found, "classes", ()))
    _check(listed == own or len(set(listed)) == len(listed), "two classes have one name: they could not be told apart")
    _check(template.count("{}") == 1, f"template {template!r} does not have one {{}} for the class")
    task = Task(listed, template, family, (float(crop_scale[0]), float(crop_scale[1])))
    if batch_size is not None and any(each.name == "batch_size" for each in fields(find_method(name).Parameters)):
        parameters["batch_size"] = batch_size
    chosen = build_parameters(name, parameters)
    size = None if memory is None else max(1, int(memory * 2**30))
    return LoadedMethod(build_method(name, found, task, chosen, seed, size), precision, batch_size or _BATCH_SIZE)


def _is_crop_scale(value: Any) -> bool:
    numbers = isinstance(value, tuple | list) and len(value) == 2 and all(type(each) in (int, float) for each in value)
    return numbers and 0 < value[0] <= value[1] <= 1


def _check(right: bool, otherwise: str) -> None:
    if not right:
        raise UserError(otherwise, exit_code=2)
