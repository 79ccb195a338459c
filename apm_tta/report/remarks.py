"""What was remarked while images were read and answered, as the records state it: one sentence each, with a count."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from apm_tta.harness.progress.heard_warnings import counted
from apm_tta.report.aggregate import condition_name
from apm_tta.report.cell_answers import Answers

_SHOWN = 10
"""The largest number of different warnings and conditions that are listed."""


class Remarks:
    """Sums over the cells of a report.

    All cells of one condition are of the same images, and all files of one shard or stream state the same warnings: the
    largest count counts, since a run that went on may have read some of them again.
    """

    def __init__(self) -> None:
        self._images: dict[str, dict[str, int]] = defaultdict(dict)
        self._of_units: dict[str, dict[str, int]] = defaultdict(dict)
        self._setup: dict[str, int] = {}

    def add(self, cell: Answers) -> None:
        """Add what the files of a cell state."""
        condition = condition_name(cell.cell["corruption"], cell.cell["severity"])
        images: Counter[str] = Counter()
        for header in cell.headers:
            images.update(header.remarks)
            _keep_largest(self._of_units[header.unit], header.warnings)
            _keep_largest(self._setup, header.setup_warnings)
        for phrase, count in images.items():
            _keep_largest(self._images[phrase], {condition: count})

    def sentences(self, images: Mapping[str, int]) -> list[str]:
        """Return a sentence for every remark and every warning.

        Args:
            images: how many there are, by the conditions that are shown.
        """
        total = Counter(self._setup)
        for warnings in self._of_units.values():
            total.update(warnings)
        return [
            *(f"{_where(counts, images)}: {phrase}." for phrase, counts in sorted(self._images.items())),
            *_first(f"{text}." for text in counted(dict(sorted(total.items())))),
        ]


def _keep_largest(counts: dict[str, int], more: dict[str, int]) -> None:
    for text, count in more.items():
        counts[text] = max(count, counts.get(text, 0))


def _where(counts: dict[str, int], images: Mapping[str, int]) -> str:
    """Say how many images; under which conditions only where it is not the same under all."""
    shares = {condition: f"{counts.get(condition, 0)} of {total} images" for condition, total in images.items()}
    if len(set(shares.values())) == 1:
        return next(iter(shares.values()))
    some = [f"{share} under {name}" for name, share in shares.items() if name in counts]
    return ", ".join(some[:_SHOWN]) + (f" and so on under {len(some) - _SHOWN} more" if len(some) > _SHOWN else "")


def _first(sentences: Iterable[str]) -> list[str]:
    listed = list(sentences)
    more = len(listed) - _SHOWN
    return listed if more <= 0 else [*listed[:_SHOWN], f"{more} more warnings are in the metadata of the records."]
