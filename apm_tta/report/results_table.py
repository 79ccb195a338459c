"""The results table: one row per cell, with the columns that ``apm_tta.columns`` shows."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import pandas as pd

from apm_tta.columns import RESULT_COLUMNS, Form, Omit, Shown
from apm_tta.harness.plan import EPISODIC
from apm_tta.report.aggregate import condition_name
from apm_tta.report.cells import BOLD
from apm_tta.report.paired import SHOWN_SEVERAL_TIMES
from apm_tta.report.sites import varies
from apm_tta.report.table import Table, interval, mean_and_deviation, number, p_value, signed
from apm_tta.report.timings import MARKED, RATIO, is_disturbed, marked

_CONDITION = "condition"  # the first column, composed from corruption and severity
_EMPHASIZED = "top1"

TUNED_MARK = "\N{DOUBLE DAGGER}"

CellRow = dict[Any, Any]
"""One cell of the results: its value in every column."""

_TEXT: dict[Form, Callable[[CellRow, str, Shown], str]] = {
    "text": lambda row, name, _: str(row[name]),
    "count": lambda row, name, _: str(int(row[name])),
    "number": lambda row, name, shown: number(row[name], shown.digits),
    "signed": lambda row, name, _: signed(row[name]),
    "p": lambda row, name, _: p_value(row[name]),
    "interval": lambda row, name, shown: interval(row[name], row[shown.upto]),
    "signed interval": lambda row, name, shown: interval(row[name], row[shown.upto], signed),
    "mean": lambda row, name, _: mean_and_deviation(row[name], row[f"{name}_sd"], row["seeds"]),
    "published": lambda row, name, shown: (
        number(row[name], shown.digits)
        + ("*" if row["published_differs"] else "")
        + (TUNED_MARK if row["published_tuned"] else "")
    ),
}

_OMITTED: dict[Omit, Callable[[pd.DataFrame, str], bool]] = {
    "never": lambda *_: False,
    "unknown": lambda results, name: bool(results[name].isna().all()),
    "empty": lambda results, name: not results[name].fillna("").any(),
    "zero": lambda results, name: not results[name].any(),
    "several seeds": lambda results, _: bool((results["seeds"] > 1).any()),
    "episodic": lambda results, name: bool((results[name] == EPISODIC).all()),
    "same": lambda results, name: not varies(results[name]),
    # The methods were fitted to the teacher's own feature, so that the column repeats the agreement with the teacher.
    "teacher's own": lambda results, name: bool((results[name].isna() | (results[name] == results["agreement"])).all()),
}


def results_table(results: pd.DataFrame) -> Table:
    """Tabulate condition x method: top-1 with its interval, the difference to zero-shot with its interval, and so on.

    Args:
        results: results from ``merge_seeds``. Columns that add nothing are omitted; see ``Shown.omit``.
    """
    declared = sorted(
        ((column.name, column.shown) for column in RESULT_COLUMNS if column.shown is not None),
        key=lambda column: column[1].place,
    )
    columns = [(name, shown) for name, shown in declared if not _OMITTED[shown.omit](results, name)]
    records = results.to_dict("records")
    rows = [
        [
            condition_name(row["corruption"], row["severity"]),
            *(
                marked(name, row[name], _TEXT[shown.form](row, name, shown), bool(row["times_disturbed"]))
                for name, shown in columns
            ),
        ]
        for row in records
    ]
    names = [_CONDITION, *(name for name, _ in columns)]
    place = names.index(_EMPHASIZED)
    bold = frozenset((index, place) for index, row in enumerate(records) if row["best"])
    left = 1 + sum(shown.form == "text" for _, shown in columns)
    headers = [_CONDITION, *(shown.header for _, shown in columns)]
    return Table(headers, rows, left, bold, note=_note(results, names))


def _note(results: pd.DataFrame, names: Collection[str]) -> str:
    sentences = []
    if results["best"].any():
        sentences.append(BOLD)
    if "delta_zeroshot" in names:
        sentences.append(
            "vs zeroshot: difference in percentage points on the same images"
            + (
                ", with its paired bootstrap interval; p is McNemar's, with Holm's correction over the methods under "
                "the condition."
                if "p_holm" in names
                else "."
            )
        )
    if "images" in names:
        sentences.append(SHOWN_SEVERAL_TIMES)
    if "beside" in names:
        sentences.append(
            "Beside: these rows have other prompts than zeroshot, and their difference to it is partly that of the "
            "prompts; compare them with what is named."
        )
    if "time_vs_zeroshot" in names:
        sentences.append(RATIO)
    if is_disturbed(results).any():
        sentences.append(MARKED)
    if "tuned" in names:
        sentences.append(
            "Tuned: settings of whoever ran this, in the place of the defaults, which are the papers' or the suite's."
        )
    if (results["seeds"] > 1).any():
        sentences.append("Several seeds: mean and standard deviation over the seeds.")
    if "published_top1" in names:
        differing = results[results["published_differs"].astype(bool)]
        for row in results[results["published_top1"].notna()].drop_duplicates("method").to_dict("records"):
            sentences.append(f"Published, {row['method']}: {row['published_source']}.")
        for row in differing.drop_duplicates("method").to_dict("records"):
            sentences.append(f"* {row['method']} is not comparable: {row['published_differs']}.")
        tuned = results[results["published_tuned"].astype(bool)]
        for row in tuned.drop_duplicates("method").to_dict("records"):
            sentences.append(f"{TUNED_MARK} {row['method']} is as tuned by its authors: {row['published_tuned']}.")
    return " ".join(sentences)
