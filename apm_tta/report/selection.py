"""What a choice among a method's rows would give: by entropy, without labels, and by the labels of the test images."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from apm_tta.errors import UserError
from apm_tta.method_rows import method_of
from apm_tta.report.aggregate import condition_name
from apm_tta.report.run_data import ReportData, read_report_data
from apm_tta.report.table import Table, number, signed
from apm_tta.report.table_of_run import write_table_of_run

Criterion = Literal["entropy", "none"]
_MEAN = "mean"
COLUMNS = [
    *("method", "condition", "top1_default", "chosen", "top1_chosen", "gain_chosen"),
    *("oracle", "top1_oracle", "gain_oracle"),
]


@dataclass(frozen=True)
class Selection:
    """The rows that are chosen of every method that has several, condition by condition.

    Attributes:
        criterion: by which they are chosen without labels; ``none`` for no such choice.
        frame: the columns ``COLUMNS``, with the mean over the conditions as each method's last row; in percent.
        data: of the run.
    """

    criterion: Criterion
    frame: pd.DataFrame
    data: ReportData = field(repr=False)

    def table(self) -> Table:
        """Tabulate it; nothing is bold, least of all what labels have chosen."""
        chosen = self.criterion != "none"
        rows = [
            [
                row["method"],
                row["condition"],
                *([row["chosen"]] if chosen else []),
                row["oracle"],
                number(row["top1_default"]),
                *([number(row["top1_chosen"]), signed(row["gain_chosen"])] if chosen else []),
                number(row["top1_oracle"]),
                signed(row["gain_oracle"]),
            ]
            for row in self.frame.to_dict("records")
        ]
        headers = [
            *("method", "condition", *(["by entropy"] if chosen else []), "oracle", "default top-1 %"),
            *(["by entropy top-1 %", "vs default"] if chosen else []),
            *("oracle top-1 %", "vs default"),
        ]
        declared = (
            "By entropy: the row whose answers have the least mean entropy under the condition, which needs no label. "
            if chosen
            else ""
        )
        note = (
            f"{declared}Oracle: the row with the highest top-1 under the condition, chosen by the labels of the test "
            "images themselves: no method's result, but what tuning on the test set would buy. Differences are in "
            "percentage points, without a test: the best of several is above their mean by chance too."
        )
        return Table(headers, rows, 4 if chosen else 3, title="Choice among the rows of a method", note=note)


def select(run: Path, criterion: Criterion) -> Selection:
    """Choose among the rows of every method that has several.

    Args:
        run: the run folder, which must be complete.
        criterion: ``entropy``, or ``none``.

    Raises:
        UserError: when no method has several rows, or their entropy is not known; as ``read_report_data``.
    """
    data = read_report_data(run)
    results = data.merged
    results = results[[not data.manifest.numbers.methods[row].votes for row in results["method"]]]
    own = results.assign(base=[method_of(row) for row in results["method"]])
    several = [base for base in dict.fromkeys(own["base"]) if own[own["base"] == base]["method"].nunique() > 1]
    if not several:
        raise UserError(
            f"{run} has no method with several rows to choose from: run it with, for example, "
            "--methods 'tda,tda[positive_alpha=1],tda[positive_alpha=4]'",
            exit_code=2,
        )
    if criterion == "entropy" and own[own["base"].isin(several)]["entropy"].isna().any():
        raise UserError(f"{run} has records without the entropy of the answers, as earlier versions wrote them")
    rows: list[dict[str, Any]] = []
    for base in several:
        groups = own[own["base"] == base].groupby(["corruption", "severity"], sort=False)
        found = [_chosen(base, condition_name(*key), group, criterion) for key, group in groups]
        frame = pd.DataFrame(found, columns=COLUMNS)
        means = {name: frame[name].mean(skipna=False) for name in COLUMNS if name.startswith(("top1", "gain"))}
        rows += [*found, {**dict.fromkeys(COLUMNS, ""), "method": base, "condition": _MEAN, **means}]
    return Selection(criterion, pd.DataFrame(rows, columns=COLUMNS), data)


def write_selection(selection: Selection) -> str:
    """Write a selection into its run folder, as CSV, Markdown and LaTeX; return the Markdown.

    Raises:
        UserError: when the folder cannot be written.
    """
    name = f"selection-{selection.criterion}"
    return write_table_of_run(selection.data, selection.table(), selection.frame, name, "selection")


def _chosen(base: str, condition: str, group: pd.DataFrame, criterion: Criterion) -> dict[str, Any]:
    """Choose under one condition; of equals the first, in the order of the table."""
    by_row = group.set_index("method")
    tops: dict[str, float] = {str(row): float(top) for row, top in by_row["top1"].items()}
    default = tops.get(base, float("nan"))
    oracle = max(tops, key=lambda row: tops[row])
    chosen = str(by_row["entropy"].idxmin()) if criterion == "entropy" else ""
    top = tops.get(chosen, float("nan"))
    return {
        **{"method": base, "condition": condition, "top1_default": default},
        **{"chosen": chosen, "top1_chosen": top, "gain_chosen": top - default},
        **{"oracle": oracle, "top1_oracle": tops[oracle], "gain_oracle": tops[oracle] - default},
    }
