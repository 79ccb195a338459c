"""The columns of a field's training images, and of the images that it never learned from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from apm_tta.data.unlabelled import Unlabelled, by_digest
from apm_tta.errors import UserError
from apm_tta.field.checkpoint import Field
from apm_tta.field.samples import images_digest

_AT_ONCE = 64

Batches = Callable[[Sequence[range]], Iterable[range]]
"""Wraps batches that are gone through, as a progress bar does."""


def training_images(field: Field, images: Sequence[Unlabelled], name: str) -> list[Unlabelled]:
    """Return those of all ``images`` that the field learned from, in the order of their ids' digests.

    Of a released checkpoint, which does not say, all.

    Raises:
        UserError: when they are not those that it was trained on; ``name`` is what they were named by.
    """
    learned = by_digest([image for image in images if image.id not in field.held_out])
    if field.settings is None:
        return learned
    held_out = [image for image in images if image.id in field.held_out]
    if images_digest(images, held_out, field.apm.config.image_size) != field.settings.images_sha256:
        raise UserError(
            f"{name} does not hold the images that the checkpoint was trained on; name their folder with --data",
            exit_code=2,
        )
    limit = field.settings.schedule.limit
    return learned[:limit] if limit else learned


def encoded(field: Field, images: Sequence[Unlabelled], batches: Batches = iter) -> Tensor:
    """Encode whole images as columns, ``(N, D)``, on the CPU.

    Raises:
        UserError: when one cannot be read.
    """
    device = field.apm.feature_head.weight.device
    parts = [range(start, min(start + _AT_ONCE, len(images))) for start in range(0, len(images), _AT_ONCE)]
    with torch.no_grad():
        columns = [
            field.apm.column(torch.stack([field.pixels.prepare(images[at].read()) for at in part]).to(device)).cpu()
            for part in batches(parts)
        ]
    return torch.cat(columns)
