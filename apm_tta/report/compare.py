"""A comparison of two runs, image by image."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from apm_tta.data.sample import Condition
from apm_tta.errors import UserError
from apm_tta.harness.plan import EPISODIC
from apm_tta.harness.storage.carried_images import as_answered
from apm_tta.harness.storage.field_differences import differing_fields
from apm_tta.harness.storage.image_list import read_image_list, with_images
from apm_tta.harness.storage.manifest import Numbers, StreamFields, differences
from apm_tta.harness.storage.manifest_file import read_manifest
from apm_tta.harness.storage.run_records import read_headers, rows_of_run
from apm_tta.report.aggregate import condition_name
from apm_tta.report.cell_answers import Answers, condition_files, positions, read_condition
from apm_tta.report.paired import SHOWN_SEVERAL_TIMES, pair
from apm_tta.report.render import markdown, markdown_text
from apm_tta.report.run_data import find_differing_label
from apm_tta.report.sites import join_distinct, sites_of
from apm_tta.report.statistics import holm
from apm_tta.report.table import Table, interval, number, p_value, signed
from apm_tta.wording import first_few, pluralise

_COLUMNS = [
    *("corruption", "severity", "setting", "method", "seed", "n", "top1_a", "top1_b"),
    *("delta", "delta_low", "delta_high", "p_mcnemar", "p_holm"),
]


def compare(run_a: Path, run_b: Path) -> pd.DataFrame:
    """Compare the cells that both runs have: one row per cell with both top-1, and B minus A with interval and p.

    Shares and differences are in percent.

    Cells are matched by condition, method, setting and seed, images by id. p_holm is corrected over all rows.

    A fingerprint covers the images under all conditions of a run, so it decides only where both runs have the same
    conditions; otherwise the records themselves are compared.

    Raises:
        UserError: when the runs use different data, or have no cell in common.
    """
    a, b = (read_manifest(run).numbers for run in (run_a, run_b))
    fields = ["name", "ids"]
    if all(isinstance(each.dataset.images_per_condition, int) for each in (a, b)) or a.conditions == b.conditions:
        fields += ["subset", "images_per_condition"]  # by domain they state nothing of the domains that both have
    fields += ["fingerprint"] if a.conditions == b.conditions else []
    for field in fields:
        value_a, value_b = getattr(a.dataset, field), getattr(b.dataset, field)
        if value_a != value_b:
            images = (read_image_list(run_a, a), read_image_list(run_b, b))
            (named,) = with_images([f"dataset.{field}: {_short(value_a)} and {_short(value_b)}"], *images)
            raise UserError(
                f"{run_a} and {run_b} used different images or labels ({named}); only answers for the same ones can be "
                "compared"
            )
    files_a, files_b = condition_files(run_a, a), condition_files(run_b, b)
    print_a, print_b = a.fingerprint, b.fingerprint
    rows, shared = [], 0
    for name in (name for name in files_a if name in files_b):
        cells_b = {_key(cell): cell for cell in read_condition(run_b, files_b[name], print_b)}
        for cell_a in read_condition(run_a, files_a[name], print_a):
            matching = cells_b.get(_key(cell_a))
            if matching is None:
                continue
            _refuse_different_images((run_a, run_b), cell_a, matching, a.dataset.images_under(name))
            shared += 1
            if row := _row(cell_a, matching):
                rows.append(row)
    if not rows:
        if shared:
            raise UserError(
                f"{run_a} and {run_b} have {pluralise(shared, 'cell')} in common, but no image that both answered: "
                "the images could not be read",
                advice="report RUN names them",
            )
        raise UserError(
            f"{run_a} and {run_b} have no cell in common: none has the same condition, method, setting and seed"
        )
    for row, corrected in zip(rows, holm([row["p_mcnemar"] for row in rows]), strict=True):
        row["p_holm"] = corrected
    order = list(a.conditions)
    table = pd.DataFrame(rows, columns=_COLUMNS)
    places = [order.index(condition_name(*pair)) for pair in zip(table["corruption"], table["severity"], strict=True)]
    return table.iloc[pd.Series(places).argsort(kind="stable")].reset_index(drop=True)


def comparison_text(run_a: Path, run_b: Path, table: pd.DataFrame, places: tuple[str, str] | None = None) -> str:
    """Write the comparison as Markdown, with the settings in which the two runs differ.

    Args:
        run_a: run folder, or a copy of one.
        run_b: likewise.
        table: see ``compare``.
        places: what the reader knows the two runs by, where the folders are copies.
    """
    a, b = places or (str(run_a), str(run_b))
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
    expected = numbers.dataset.images_per_condition
    expected_rows = {(cell.condition, cell.method, cell.seed): rows for cell, rows in rows_of_run(numbers).items()}
    incomplete = sum(
        row["n"] < expected_rows[Condition(row["corruption"], row["severity"]), row["method"], row["seed"]]
        for row in table.to_dict("records")
    )
    note = (
        "n: images answered by both. Interval: paired bootstrap. p: McNemar's exact test; p (Holm): with Holm's "
        "correction over the rows of this table."
    )
    if isinstance(numbers.streams, StreamFields) and numbers.streams.repeats(numbers.conditions):
        note += f" {SHOWN_SEVERAL_TIMES}"
    others = read_manifest(run_b).numbers
    there, images_there = as_answered(run_a, numbers, read_image_list(run_a, numbers))
    now, images_now = as_answered(run_b, others, read_image_list(run_b, others))
    differing = with_images(differences(there, now), images_there, images_now)
    sentences = [
        "# Comparison",
        markdown_text(f"A: {a}. B: {b}."),
        markdown_text(
            "They differ in (there: A, now: B): " + ("; ".join(differing) or "nothing that decides a number.")
        ),
    ]
    if elsewhere := differing_fields(_computed_on(run_a, numbers), _computed_on(run_b, others)):
        sentences.append(
            markdown_text(f"They were computed differently, which decides no answer: {'; '.join(elsewhere)}.")
        )
    if alone := [*_only_in("A", numbers, others), *_only_in("B", others, numbers)]:
        sentences.append(markdown_text(f"Not compared: {'; '.join(alone)}."))
    if incomplete:
        sentences.insert(
            1,
            f"Incomplete: in {incomplete} of {pluralise(len(table), 'row')}, fewer than "
            f"{pluralise(expected, 'image') if isinstance(expected, int) else 'all images'} were answered by both.",
        )
    return "\n\n".join([*sentences, markdown(Table(headers, rows, 2, note=note))]) + "\n"


def _only_in(name: str, own: Numbers, other: Numbers) -> Iterator[str]:
    """Name the methods of a run with cells that the other run does not have."""
    there = {(cell.condition, cell.method, cell.seed, cell.setting) for cell in rows_of_run(other)}
    alone: dict[str, list[str]] = {}
    for cell in rows_of_run(own):
        if (cell.condition, cell.method, cell.seed, cell.setting) not in there:
            setting = "" if cell.setting == EPISODIC else f" ({cell.setting})"
            alone.setdefault(f"{cell.method}{setting}", []).append(str(cell.condition))
    for method, conditions in alone.items():
        yield f"{method} under {first_few([*dict.fromkeys(conditions)])}, only in {name}"


def _computed_on(run: Path, numbers: Numbers) -> dict[str, str]:
    """Describe where a run was computed: what may change times, and the last bits of a sum."""
    sites = sites_of(read_headers(run, numbers))
    return {
        "device": join_distinct(site.device_type for site in sites.distinct),
        "processor": join_distinct(site.device_name for site in sites.distinct),
        "threads": join_distinct(str(site.threads) for site in sites.distinct),
        "batch size": sites.batch_sizes_text(),
    }


def _short(value: Any) -> str:
    text = str(value)
    return f"{text[:12]}..." if len(text) == 64 and text.isalnum() else text  # a digest


def _key(answers: Answers) -> tuple[Any, ...]:
    return tuple(answers.cell[name] for name in ("corruption", "severity", "setting", "method", "seed"))


def _refuse_different_images(runs: tuple[Path, Path], a: Answers, b: Answers, expected: int) -> None:
    """Refuse two cells with different images or labels.

    Where both cells are complete, every image must be in both; in any case an image must have the same label in both.
    """
    condition = condition_name(a.cell["corruption"], a.cell["severity"])
    cells = f"{runs[0]} and {runs[1]}: {a.cell['method']} under {condition}"
    only_a = positions(a.images, b.images) < 0
    if len(a.images) == len(b.images) == expected and only_a.any():
        raise UserError(f"{cells} has different images, such as {a.images[int(only_a.argmax())].as_py()}")
    if (image := find_differing_label(a, b)) is not None:
        raise UserError(f"{cells} has different labels for image {image}")


def _row(a: Answers, b: Answers) -> dict[str, Any]:
    pairs = pair(b, a)
    if not len(pairs):
        return {}
    images, gain = len(pairs), pairs.only_one - pairs.only_other
    low, high = pairs.interval()
    return {
        **{name: a.cell[name] for name in ("corruption", "severity", "setting", "method", "seed")},
        "n": images,
        "top1_a": 100 * pairs.right / images,
        "top1_b": 100 * (pairs.right + gain) / images,
        "delta": 100 * gain / images,
        "delta_low": 100 * low,
        "delta_high": 100 * high,
        "p_mcnemar": pairs.p(),
    }
