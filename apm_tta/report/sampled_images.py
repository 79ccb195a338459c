"""A few images of every condition, chosen by a fixed rule, with every method's answer."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from apm_tta.report.cell_answers import Answers, positions

RULE = (
    "first those on which methods disagree, then the others, each in the order of the SHA-256 of their ids; the same "
    "number under every condition"
)
MOST = 60
"""Images of all conditions together."""


@dataclass(frozen=True)
class SampledAnswer:
    """One method's answer for one image.

    Attributes:
        method: name of the method.
        prediction: predicted class.
        right: whether the prediction is the label, or another right class.
        confidence: softmax probability of the prediction, 0 .. 1; a share of votes for some methods.
    """

    method: str
    prediction: int
    right: bool
    confidence: float


@dataclass(frozen=True)
class SampledImage:
    """One image under one condition.

    Attributes:
        id: id of the image.
        classes: its label, then the other classes that are right.
        answers: every method's answer.
        differ: whether the methods' predictions differ.
    """

    id: str
    classes: list[int]
    answers: list[SampledAnswer]
    differ: bool


def sample_images(cells: Sequence[Answers], count: int) -> list[SampledImage]:
    """Choose at most ``count`` of the images under one condition that every method answered; see ``RULE``.

    Args:
        cells: of the condition and of one seed, in the order in which their answers are shown.
        count: the largest number of images.
    """
    if not cells:
        return []
    first = cells[0]
    ids = first.ids if first.showing is None else pc.unique(first.ids)  # the first showing of each
    places = [positions(ids, cell.ids) for cell in cells]
    common = np.flatnonzero(np.all([place >= 0 for place in places], axis=0))
    predictions = np.stack([cell.prediction[place[common]] for cell, place in zip(cells, places, strict=True)])
    differ = (predictions != predictions[0]).any(axis=0)
    # Digests of all images are only needed where methods disagree on fewer than are shown.
    ranked = np.flatnonzero(differ) if differ.sum() >= count else np.arange(len(common))
    names = dict(zip(ranked.tolist(), ids.take(common[ranked]).to_pylist(), strict=True))
    chosen = heapq.nsmallest(
        count, names, key=lambda index: (not differ[index], hashlib.sha256(names[index].encode()).hexdigest())
    )
    further = {} if first.further is None else first.further.by_id(first.ids)
    samples = []
    for index in chosen:
        at = int(common[index])
        answers = [
            SampledAnswer(
                cell.cell["method"],
                int(cell.prediction[place[at]]),
                bool(cell.right[place[at]]),
                float(cell.confidence[place[at]]),
            )
            for cell, place in zip(cells, places, strict=True)
        ]
        classes = [int(first.label[places[0][at]]), *sorted(further.get(names[index], ()))]
        samples.append(SampledImage(names[index], classes, answers, bool(differ[index])))
    return samples
