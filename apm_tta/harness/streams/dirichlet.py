"""Classes that come in bouts, as Dirichlet's distribution spreads them over time (NOTE, RoTTA)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from apm_tta.harness.streams.setting import StreamSetting, register
from apm_tta.randomness import numpy_generator

if TYPE_CHECKING:
    from apm_tta.data.layouts import Entry

_MOST_SLOTS = 100


@register
class Dirichlet(StreamSetting):
    r"""Each condition in slots of time, over which each class is spread by a draw of its own.

    It is RoTTA's draw (arXiv 2303.13899, ``core/data/ttasampler.py`` of BIT-DA/RoTTA): there are S slots, as many as
    classes but 100 at most. Class c is cut into S parts, one for each slot, of shares
    :math:`p_c \sim \mathrm{Dir}(\gamma, \dots, \gamma)`; in a slot the parts follow one another, in an order of its
    own. The smaller :math:`\gamma` is, the more images of one class come in a row. NOTE (arXiv 2208.05117) draws
    likewise, but balances the slots and draws again until each has ten images. RoTTA takes the images of a class in the
    set's order; here they are shuffled first.
    """

    name = "dirichlet"
    gamma: Annotated[
        float,
        Field(gt=0, le=1e6, description="Concentration of classes: the smaller, the longer their runs."),
    ] = 0.1

    def arrange(self, entries: Sequence[Entry], seed: int, name: str, batch: int | None) -> list[Entry]:
        entries = super().arrange(entries, seed, name, batch)
        by_class: dict[int, list[Entry]] = {}
        for entry in sorted(entries, key=lambda entry: entry.label):
            by_class.setdefault(entry.label, []).append(entry)
        slots = min(len(by_class), _MOST_SLOTS)
        generator = numpy_generator(seed, name, "Dirichlet order of the stream")
        shares = generator.dirichlet([self.gamma] * slots, len(by_class))
        parts: list[list[list[Entry]]] = [[] for _ in range(slots)]
        for own, share in zip(by_class.values(), shares, strict=True):
            ends = (share.cumsum()[:-1] * len(own)).astype(int).tolist()
            for slot, (start, end) in enumerate(zip([0, *ends], [*ends, len(own)], strict=True)):
                parts[slot].append(own[start:end])
        return [entry for slot in parts for place in generator.permutation(len(slot)) for entry in slot[place]]
