"""Corruptions that set in and go again (the gradual setting of CoTTA, arXiv 2203.13591)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from apm_tta.data.sample import Condition
from apm_tta.errors import UserError
from apm_tta.harness.streams.setting import Reset, StreamSetting, register


@register
class Gradual(StreamSetting):
    """Corruption by corruption, the severities rise to the highest and fall again: 1 2 3 4 5 4 3 2 1.

    All images are shown in each of the passes, anew shuffled. Methods are not reset, or at every corruption.
    """

    name = "gradual"
    default_reset = "never"

    def check(self, conditions: Sequence[Condition], reset: Reset | int) -> None:
        if reset == "dataset":
            raise UserError(
                "setting gradual goes through all severities of a corruption; reset must be corruption, never or a "
                "number of steps",
                exit_code=2,
            )
        if len({condition.severity for condition in conditions if condition.severity}) < 2:
            raise UserError("setting gradual needs several severities, such as --severities 1,2,3,4,5", exit_code=2)

    def between_resets(self, conditions: Iterable[Condition], reset: Reset | int) -> list[list[Condition]]:
        groups: dict[object, list[Condition]] = {}
        for condition in conditions:
            groups.setdefault(condition.corruption if reset == "corruption" else None, []).append(condition)
        return list(groups.values())

    def passes(self, conditions: Sequence[Condition]) -> list[Condition]:
        by_corruption: dict[str, list[Condition]] = {}
        for condition in conditions:
            by_corruption.setdefault(condition.corruption, []).append(condition)
        shown = []
        for own in by_corruption.values():
            rising = sorted(own, key=lambda condition: condition.severity)
            shown += [*rising, *rising[-2::-1]]
        return shown
