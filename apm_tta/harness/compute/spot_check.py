"""Whether a method answers an image alone as it answers it among others: asked for a few images of every cell.

Sums in another order round otherwise, so answers are compared within a tolerance: what the teacher's own logits differ
by, alone and together, times ``_AMPLIFIED``, but no less than ``_LEAST`` of the range of an image's logits. The
package's methods stay below a millionth of it in float32 and a hundredth in bfloat16. A choice between two views may
still fall the other way at a tie, so that more than ``_SHARE`` of the images have to differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from apm_tta.errors import UserError
from apm_tta.methods import Batch, Method
from apm_tta.methods.answering import Answers, answer, reset
from apm_tta.methods.batch import Shared

IMAGES = 3
"""Images that are answered alone where no single ones are measured anyway."""

_AMPLIFIED = 20
_LEAST = 1e-4
_SHARE = 1 / 3


def takes_single_images(method: Method[Any]) -> bool:
    """Return whether the answer for an image is meant to be the same in a batch of any size."""
    return not method.batch_dependent and method.stream_batch is None and method.protocol != "transductive"


def images_at_once(method: Method[Any], batch: Batch) -> int:
    """Return how many images of ``batch`` the method must be given together."""
    if method.batch_dependent or method.protocol == "transductive":
        return len(batch)
    return min(method.stream_batch or 1, len(batch))


def part_of(batch: Batch, part: slice, *, given: bool = False) -> Batch:
    """Return a part of a batch, with nothing computed yet.

    Args:
        batch: of images.
        part: which of them.
        given: whether it gets its part of what a loading process or a cache gave the batch, and of what that cost.
    """
    ids, shared = batch.ids[part], Shared(batch.shared.device)
    for key in batch.shared.given if given else ():
        cost = batch.shared.cost(key)
        share = None if cost is None else cost * len(ids) / len(batch)
        shared.put(key, batch.shared.of(key)[part], share)
    return Batch(ids, batch.images[part], shared)


def answer_alone(method: Method[Any], batch: Batch) -> list[Answers]:
    """Ask ``method`` for ``IMAGES`` images alone; an online one from its start, to which it is reset afterwards."""
    at_once = images_at_once(method, batch)
    count = min(len(batch), max(IMAGES, at_once))
    reset(method)
    starts = range(0, count - at_once + 1, at_once)
    alone = [answer(method, part_of(batch, slice(start, start + at_once), given=True), "alone") for start in starts]
    reset(method)
    return alone


def refuse_other_answers(
    method: Method[Any], batch: Batch, alone: Sequence[Answers], together: Sequence[Answers]
) -> None:
    """Refuse a method that answers the first images of ``batch`` alone otherwise than together.

    Raises:
        UserError: in one line that names the method, the image and what it could declare.
    """
    logits, teacher = _concatenated(alone)
    among, among_teacher = (each[: len(logits)] for each in _concatenated(together))
    tolerance = max(_LEAST, _AMPLIFIED * float(_distances(teacher, among_teacher).max()))
    differing = (_distances(logits, among) > tolerance).nonzero().flatten().tolist()
    if len(differing) <= _SHARE * len(logits):
        return
    index = differing[0]
    image = f"method {method.given.row} answers image {batch.ids[index]}"
    if not takes_single_images(method) or _is_random(method, part_of(batch, slice(index, index + 1)), tolerance):
        raise UserError(
            f"{image} differently each time that it is asked: draw random numbers by apm_tta.randomness, from the "
            "run's seed, the image's id and a purpose; where it keeps state between images, state "
            'protocol = "online" and forget it in reset()'
        )
    largest = float((logits[index] - among[index]).abs().max())
    raise UserError(
        f"{image} alone otherwise than among {len(batch)} (logits differ by {largest:.2g}), though it is "
        f"{method.protocol} and states nothing else: if that is meant, state batch_dependent = True, and its numbers "
        "depend on the batch size"
    )


def differing_answers(alone: Sequence[Answers], together: Sequence[Answers], rows: Sequence[int]) -> list[int]:
    """Return those of ``rows`` of the answers given together that differ from the answers given alone, row by row."""
    logits, teacher = _concatenated(alone)
    among, among_teacher = (each[list(rows)] for each in _concatenated(together))
    tolerance = max(_LEAST, _AMPLIFIED * float(_distances(teacher, among_teacher).max()))
    return [row for row, distance in zip(rows, _distances(logits, among).tolist(), strict=True) if distance > tolerance]


def _is_random(method: Method[Any], single: Batch, tolerance: float) -> bool:
    asked = []
    for purpose in ("once more", "and again"):
        reset(method)
        asked.append(answer(method, part_of(single, slice(0, 1)), purpose).predictions.logits)
    reset(method)
    return bool((_distances(*asked) > tolerance).any())


def _concatenated(parts: Sequence[Answers]) -> tuple[Tensor, Tensor]:
    return torch.cat([each.predictions.logits for each in parts]), torch.cat([each.teacher for each in parts])


def _distances(one: Tensor, other: Tensor) -> Tensor:
    """Return the largest difference of each image's logits ``(n, C)`` as a share of their range, ``(n,)``.

    The range counts as a hundredth of the largest logit at least: it is rounding itself where classes are equal.
    """
    logits_range = torch.maximum(other.amax(1) - other.amin(1), other.abs().amax(1) / 100)
    return (one - other).abs().amax(1) / logits_range.clamp_min(torch.finfo(other.dtype).tiny)
