"""Batches of few classes each (effective classes; StatA, arXiv 2501.03729)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from apm_tta.errors import UserError
from apm_tta.harness.streams.setting import USUAL_BATCH, StreamSetting, register, shuffled
from apm_tta.randomness import numpy_generator

if TYPE_CHECKING:
    from apm_tta.data.layouts import Entry


@register
class FewClasses(StreamSetting):
    """Each condition in batches of at most K classes, which are drawn anew for every batch.

    StatA's authors draw the classes of a batch, and then its images among theirs, so that some images are in no batch
    and others in several (``sampler.py`` of MaxZanella/StatA). Here every image is shown once: a class gives a batch
    B / K of its images, and is drawn in proportion to the shares that it has left. What is left of a class in the end,
    fewer images than one share, comes last, mixed with that of all others: the only batches of more classes. B is 64
    for methods that take any number of images at once.
    """

    name = "few-classes"
    classes_per_batch: Annotated[int, Field(ge=1, le=2**31, description="Most classes in a batch.")] = 4

    def check_images(self, entries: Sequence[Entry], batch: int | None) -> None:
        size = batch or USUAL_BATCH
        needed, most = -(-size // self.classes_per_batch), max(Counter(entry.label for entry in entries).values())
        if most < needed:
            raise UserError(
                f"--classes-per-batch {self.classes_per_batch} takes {needed} images of a class for a batch of {size}, "
                f"and no class has more than {most}; choose more classes per batch, or another --limit",
                exit_code=2,
            )

    def arrange(self, entries: Sequence[Entry], seed: int, name: str, batch: int | None) -> list[Entry]:
        import numpy as np  # only here: options are completed without it

        size = batch or USUAL_BATCH
        classes = min(self.classes_per_batch, size)
        shares = [size // classes + (share < size % classes) for share in range(classes)]
        left: dict[int, list[Entry]] = {}
        for entry in super().arrange(entries, seed, name, batch):
            left.setdefault(entry.label, []).append(entry)
        labels, counts = sorted(left), np.array([len(left[label]) for label in sorted(left)])
        generator = numpy_generator(seed, name, "classes of the batches")
        places: list[Entry] = []
        while True:
            drawn: list[Entry] = []
            for share in shares:
                weights = counts // share
                if not weights.any():
                    break
                chosen = int(generator.choice(len(labels), p=weights / weights.sum()))
                counts[chosen] -= share
                own = left[labels[chosen]]
                drawn += own[-share:]
                del own[-share:]
            number = len(places) // size
            if len(drawn) < size:
                rest = [*drawn, *(entry for label in labels for entry in left[label])]
                return places + shuffled(rest, seed, f"{name}, what is left")
            places += shuffled(drawn, seed, f"{name}, batch {number}")
