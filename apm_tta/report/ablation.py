"""An ablation: one parameter of a method varied at a time, the rest as stated, each row paired with the default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from apm_tta.errors import UserError
from apm_tta.harness.storage.manifest import Numbers
from apm_tta.method_rows import canonical_row, folder_of, method_of, settings_of
from apm_tta.report.cell_answers import Answers, condition_files, read_condition
from apm_tta.report.paired import paired_rows
from apm_tta.report.run_data import ReportData, read_report_data
from apm_tta.report.statistics import Ints, holm, paired_mean_interval, sign_flip_p
from apm_tta.report.table import Table, interval, number, p_value, signed
from apm_tta.report.table_of_run import write_table_of_run
from apm_tta.report.timings import MARK, MARKED, is_disturbed
from apm_tta.wording import pluralise

COLUMNS = [
    *("method", "parameter", "value", "default", "top1", "delta", "delta_low", "delta_high", "p", "p_holm"),
    *("changed", "latency_ms", "times_disturbed"),
]


@dataclass(frozen=True)
class Ablation:
    """The rows of an ablation.

    Attributes:
        row: the one that the others are paired with.
        frame: the columns ``COLUMNS``, that row first, then the variants parameter by parameter; shares and differences
            in percent.
        others: rows of the same method that differ from it in more than one parameter.
        data: of the run.
    """

    row: str
    frame: pd.DataFrame
    others: tuple[str, ...]
    data: ReportData = field(repr=False)

    def table(self) -> Table:
        """Tabulate it."""
        rows = [
            [
                row["parameter"] or "as stated",
                row["value"] or row["method"],
                row["default"],
                number(row["top1"]),
                signed(row["delta"]),
                interval(row["delta_low"], row["delta_high"], signed),
                p_value(row["p"]),
                p_value(row["p_holm"]),
                number(row["changed"]),
                number(row["latency_ms"]) + (MARK if row["times_disturbed"] else ""),
            ]
            for row in self.frame.to_dict("records")
        ]
        headers = [
            *("parameter", "value", "instead of", "top-1 %", f"vs {self.row}", "95 % interval", "p", "p (Holm)"),
            *("changed %", "ms per image, p50"),
        ]
        numbers = self.data.manifest.numbers
        over = pluralise(len(numbers.conditions), "condition")
        seeds = f" and {len(numbers.seeds)} seeds" if len(numbers.seeds) > 1 else ""
        sentences = [
            f"Top-1 is the mean over {over}{seeds}. Each row differs from {self.row} in one parameter; differences are "
            "in percentage points on the same images. Interval: paired bootstrap, in which an image is drawn with all "
            "of its answers. p: exact sign-flip test over images, for one answer per image McNemar's; p (Holm): with "
            "Holm's correction over the rows. Changed: answers that are not those of the row above all others.",
            *([MARKED] if self.frame["times_disturbed"].any() else []),
            *([f"Not in the table, since they differ in more: {', '.join(self.others)}."] if self.others else []),
        ]
        return Table(headers, rows, 3, title=f"Ablation of {self.row}", note=" ".join(sentences))


def ablate(run: Path, row: str) -> Ablation:
    """Pair every variant of a row's method that differs from it in one parameter with the row.

    Args:
        run: the run folder, which must be complete.
        row: name of the row.

    Raises:
        UserError: when the run has no such row, or no such variant of it; as ``read_report_data``.
    """
    row = canonical_row(row)
    data = read_report_data(run)
    numbers = data.manifest.numbers
    if row not in numbers.methods:
        raise UserError(f"{run} has no method {row!r}; it has {', '.join(numbers.methods)}", exit_code=2)
    differing = {
        other: _differing_keys(row, other)
        for other in numbers.methods
        if other != row and method_of(other) == method_of(row)
    }
    single = {other: keys[0] for other, keys in differing.items() if len(keys) == 1}
    if not single:
        raise UserError(
            f"{run} has no row that differs from {row} in one parameter: run it with, for example, "
            f"--methods '{row},{method_of(row)}[KEY=VALUE]'",
            exit_code=2,
        )
    ordered = sorted(single, key=lambda other: list(single.values()).index(single[other]))  # grouped, else as they were
    pairs = _pairs(run, numbers, row, ordered)
    rows = [_measured(data, row)]
    for other in ordered:
        key = single[other]
        value, default = (_shown(numbers, name, key) for name in (other, row))
        named = {"parameter": key, "value": value, "default": default}
        rows.append({**_measured(data, other), **named, **pairs[other].row()})
    for each, corrected in zip(rows[1:], holm([each["p"] for each in rows[1:]]), strict=True):
        each["p_holm"] = corrected
    frame = pd.DataFrame(rows, columns=COLUMNS)
    texts = ["parameter", "value", "default"]
    frame[texts] = frame[texts].fillna("")
    return Ablation(row, frame, tuple(other for other in differing if other not in single), data)


def write_ablation(ablation: Ablation) -> str:
    """Write an ablation into its run folder, as CSV, Markdown and LaTeX; return the Markdown.

    Raises:
        UserError: when the folder cannot be written.
    """
    name = f"ablation-{folder_of(ablation.row)}"
    return write_table_of_run(ablation.data, ablation.table(), ablation.frame, name, "ablation")


def _differing_keys(row: str, other: str) -> list[str]:
    one, two = settings_of(row), settings_of(other)
    return sorted(key for key in {*one, *two} if key not in one or key not in two or one[key] != two[key])


def _shown(numbers: Numbers, row: str, key: str) -> str:
    """Return the value that a parameter resolved to."""
    fields = numbers.methods[row]
    value = getattr(fields, key, fields.others.get(key))
    return str(list(value)) if isinstance(value, list | tuple) else str(value)


def _measured(data: ReportData, row: str) -> dict[str, Any]:
    own = data.results[data.results["method"] == row]
    quiet = own[~is_disturbed(own)]
    timed = quiet if len(quiet) else own
    return {
        "method": row,
        "top1": own["top1"].mean(skipna=False),
        "latency_ms": timed["latency_ms_p50"].dropna().median(),
        "times_disturbed": timed is own and len(own) > 0,
    }


class _Pairs:
    """Sums over the cells of two rows, image by image."""

    def __init__(self) -> None:
        self._differences: dict[str, int] = {}
        self._answers = self._changed = 0

    def add(self, one: Answers, default: Answers) -> None:
        rows, places = paired_rows(one, default)
        gained = one.right[rows].astype(np.int64) - default.right[places]
        for image, difference in zip(one.ids.take(rows).to_pylist(), gained.tolist(), strict=True):
            self._differences[image] = self._differences.get(image, 0) + difference
        self._answers += len(gained)
        self._changed += int((one.prediction[rows] != default.prediction[places]).sum())

    def row(self) -> dict[str, float]:
        differences: Ints = np.array(list(self._differences.values()), dtype=np.int64)
        if not len(differences):
            return {"p": float("nan")}
        low, high = paired_mean_interval(differences, self._answers)
        return {
            "delta": 100 * int(differences.sum()) / self._answers,
            "delta_low": 100 * low,
            "delta_high": 100 * high,
            "p": sign_flip_p(differences),
            "changed": 100 * self._changed / self._answers,
        }


def _pairs(run: Path, numbers: Numbers, row: str, others: Sequence[str]) -> dict[str, _Pairs]:
    """Read the answers of the rows condition by condition, and pair those of each of ``others`` with ``row``'s."""
    pairs = {other: _Pairs() for other in others}
    for files in condition_files(run, numbers).values():
        wanted = [file for file in files if file.cell.method in (row, *others)]
        cells = {
            (each.cell["method"], each.cell["seed"]): each for each in read_condition(run, wanted, numbers.fingerprint)
        }
        for (method, seed), cell in cells.items():
            if method != row:
                pairs[method].add(cell, cells[row, seed])
    return pairs
