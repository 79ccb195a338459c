"""All conditions together (SAR, arXiv 2302.12400)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from apm_tta.data.sample import Condition
from apm_tta.errors import UserError
from apm_tta.harness.streams.setting import Reset, StreamSetting, register, shuffled

if TYPE_CHECKING:
    from apm_tta.data.layouts import Entry
    from apm_tta.harness.streams.setting import Place


@register
class Mixed(StreamSetting):
    """All conditions shuffled together."""

    name = "mixed"
    default_reset = "dataset"

    def check(self, conditions: Sequence[Condition], reset: Reset | int) -> None:
        if reset == "corruption":
            raise UserError(
                "setting mixed has no borders between corruptions; reset must be dataset or never", exit_code=2
            )

    def order(self, passes: Sequence[tuple[Condition, Sequence[Entry]]], seed: int, batch: int | None) -> list[Place]:
        return shuffled([(condition, entry) for condition, entries in passes for entry in entries], seed, "mixed")
