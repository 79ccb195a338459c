"""Two runs, image by image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from apm_tta.errors import UserError
from apm_tta.harness.storage.manifest import differences, read_manifest
from apm_tta.report.aggregate import condition_name
from apm_tta.report.cell_answers import Answers, condition_files, positions, read_condition
from apm_tta.report.cells import discordant
from apm_tta.report.render import markdown, markdown_text
from apm_tta.report.run_data import other_label, refuse_unknown
from apm_tta.report.statistics import holm, mcnemar_p, paired_interval
from apm_tta.report.table import Table, interval, number, p_value, signed

_COLUMNS = [
    *("corruption", "severity", "setting", "method", "seed", "n", "top1_a", "top1_b"),
    *("delta", "delta_low", "delta_high", "p_mcnemar", "p_holm"),
]


def compare(run_a: Path, run_b: Path) -> pd.DataFrame:
    """One row for every cell that both runs have: top-1 of both, B minus A with interval and p, percent.

    Cells are the same by condition, method, setting and seed; images by id. p_holm is corrected over all rows.

    A fingerprint is of the images under all conditions of a run: it decides where both have the same conditions.
    Elsewhere the records themselves are looked at.

    Raises:
        UserError: when the runs are of other data, or have no cell in common.
    """
    a, b = (read_manifest(run).numbers for run in (run_a, run_b))
    fields = ("name", "subset", "images_per_condition", *(["fingerprint"] if a.conditions == b.conditions else []))
    for field in fields:
        there, here = getattr(a.dataset, field), getattr(b.dataset, field)
        if there != here:
            raise UserError(
                f"{run_a} and {run_b} are of different images (dataset.{field}: {there} there, {here} here); only "
                "answers to the same images compare"
            )
    files_a, files_b = condition_files(run_a), condition_files(run_b)
    rows = []
    for name in (name for name in files_a if name in files_b):
        others = {_key(cell): cell for cell in read_condition(run_b, files_b[name])}
        for its in others.values():
            refuse_unknown(run_b, its, b)
        for cell in read_condition(run_a, files_a[name]):
            refuse_unknown(run_a, cell, a)
            other = others.get(_key(cell))
            if other is None:
                continue
            _refuse_other_images((run_a, run_b), cell, other, a.dataset.images_per_condition)
            if row := _row(cell, other):
                rows.append(row)
    if not rows:
        raise UserError(f"{run_a} and {run_b} have no cell in common: no condition, method, setting and seed")
    for row, corrected in zip(rows, holm([row["p_mcnemar"] for row in rows]), strict=True):
        row["p_holm"] = corrected
    order = list(a.conditions)
    table = pd.DataFrame(rows, columns=_COLUMNS)
    places = [order.index(condition_name(*pair)) for pair in zip(table["corruption"], table["severity"], strict=True)]
    return table.iloc[pd.Series(places).argsort(kind="stable")].reset_index(drop=True)


def comparison_text(run_a: Path, run_b: Path, table: pd.DataFrame) -> str:
    """The comparison as Markdown, with what differs between the two runs."""
    rows = [
        [
            condition_name(row["corruption"], row["severity"]),
            row["method"],
            str(row["seed"]),
            str(row["n"]),
            number(row["top1_a"]),
            number(row["top1_b"]),
            signed(row["delta"]),
            interval(row["delta_low"], row["delta_high"], signed),
            p_value(row["p_mcnemar"]),
            p_value(row["p_holm"]),
        ]
        for row in table.to_dict("records")
    ]
    headers = ["condition", "method", "seed", "n", "A top-1 %", "B top-1 %", "B - A", "95 % interval", "p", "p (Holm)"]
    numbers = read_manifest(run_a).numbers
    whole = numbers.dataset.images_per_condition
    short = int((table["n"] < whole).sum())
    note = (
        "n: images that both answered. Interval: paired bootstrap; p: McNemar's exact test, and by Holm's correction "
        "over the rows of this table."
    )
    differing = differences(numbers, read_manifest(run_b).numbers)
    sentences = [
        "# Comparison",
        markdown_text(f"A: {run_a}. B: {run_b}."),
        markdown_text(
            "In which they differ (there: A, now: B): " + ("; ".join(differing) or "nothing that decides a number.")
        ),
    ]
    if short:
        sentences.insert(
            1, f"Not whole: in {short} of {len(table)} rows fewer than {whole} images were answered by both."
        )
    return "\n\n".join([*sentences, markdown(Table(headers, rows, 2, note=note))]) + "\n"


def _key(answers: Answers) -> tuple[Any, ...]:
    return tuple(answers.cell[name] for name in ("corruption", "severity", "setting", "method", "seed"))


def _refuse_other_images(runs: tuple[Path, Path], a: Answers, b: Answers, expected: int) -> None:
    """Where both are whole, no image may be in one alone; nowhere may an image be of another class."""
    condition = condition_name(a.cell["corruption"], a.cell["severity"])
    named = f"{runs[0]} and {runs[1]}: {a.cell['method']} under {condition}"
    alone = positions(a.images, b.images) < 0
    if len(a.images) == len(b.images) == expected and alone.any():
        raise UserError(f"{named} is of different images, such as {a.images[int(alone.argmax())].as_py()}")
    if (other := other_label(a, b)) is not None:
        raise UserError(f"{named} has different labels for image {other}")


def _row(a: Answers, b: Answers) -> dict[str, Any]:
    only_b, only_a, images = discordant(b, a)
    if not images:
        return {}
    low, high = paired_interval(only_b, only_a, images)
    right_a = _right_of(a, b)
    return {
        **{name: a.cell[name] for name in ("corruption", "severity", "setting", "method", "seed")},
        "n": images,
        "top1_a": 100 * right_a / images,
        "top1_b": 100 * (right_a + only_b - only_a) / images,
        "delta": 100 * (only_b - only_a) / images,
        "delta_low": 100 * low,
        "delta_high": 100 * high,
        "p_mcnemar": mcnemar_p(only_b, only_a),
    }


def _right_of(one: Answers, other: Answers) -> int:
    """Images that both answered and ``one`` got right."""
    return int(one.right[positions(one.ids, other.ids) >= 0].sum())
