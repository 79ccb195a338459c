"""Images sorted by class (NOTE, arXiv 2208.05117)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from apm_tta.harness.streams.setting import StreamSetting, register

if TYPE_CHECKING:
    from apm_tta.data.layouts import Entry


@register
class Correlated(StreamSetting):
    """Each condition sorted by class, and shuffled within a class."""

    name = "correlated"

    def arrange(self, entries: Sequence[Entry], seed: int, name: str, batch: int | None) -> list[Entry]:
        # Python's sort keeps the shuffled order within a class.
        return sorted(super().arrange(entries, seed, name, batch), key=lambda entry: entry.label)
