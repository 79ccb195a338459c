"""The settings with which authors published a method: ``--set METHOD.preset=published``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias, TypeVar, cast

Preset: TypeAlias = Literal["suite", "published"]
"""``suite``: the authors' algorithm, under prompts that all methods share. ``published``: all as in their script."""

T = TypeVar("T")


@dataclass(frozen=True)
class Published:
    """What an authors' script sets otherwise than the suite's defaults.

    Attributes:
        source: the script, with its repository and the arguments that matter, and where the preset cannot follow it.
        values: by parameter: a plain value, or one that depends on the data set.
        tuned_per_dataset: whether the script has values that were chosen for every data set, on its test images.
    """

    source: str
    values: Mapping[str, Any] = field(default_factory=dict)
    tuned_per_dataset: bool = False

    def applied(self, parameters: T, chosen: Mapping[str, Any]) -> T:
        """Return ``parameters`` with the script's values, except for those that were chosen."""
        own = {name: value for name, value in self.values.items() if name not in chosen}
        return cast(T, replace(cast(Any, parameters), **own))

    def remark(self, method: str) -> str:
        """Say in one sentence, without its full stop, what a reader of a table should know about the method's row."""
        tuned = ", a setting that was chosen for each data set on its test images" if self.tuned_per_dataset else ""
        return f"{method} is as published{tuned} ({self.source})"
