"""The order in which a set lies, for sets that are streams themselves, such as CCC (arXiv 2306.05401)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from apm_tta.harness.streams.setting import StreamSetting, register

if TYPE_CHECKING:
    from apm_tta.data.layouts import Entry


@register
class Stored(StreamSetting):
    """Each condition in the data set's own order; the seed draws nothing."""

    name = "stored"

    def arrange(self, entries: Sequence[Entry], seed: int, name: str, batch: int | None) -> list[Entry]:
        return list(entries)
