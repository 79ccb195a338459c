"""Tables of several runs of one teacher: methods by data set, as in papers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from apm_tta.errors import UserError
from apm_tta.report.caption import caption, notes
from apm_tta.report.cells import BOLD
from apm_tta.report.render import markdown, markdown_text
from apm_tta.report.run_data import ReportData, read_report_data
from apm_tta.report.table import Table, mean_and_deviation, number
from apm_tta.report.tables import by_corruption_table, cost_table
from apm_tta.report.write import CSV_FILE, LATEX_FILE, MARKDOWN_FILE, latex_document
from apm_tta.system.files import write_file
from apm_tta.teachers.templates import DATASET

# In the order of the papers' columns.
VARIANTS = ["imagenet", "imagenet-a", "imagenet-v2-matched-frequency", "imagenet-r", "imagenet-sketch"]
FINE_GRAINED = [
    *("caltech101", "oxford_pets", "stanford_cars", "flowers102", "food101", "fgvc_aircraft", "sun397", "dtd"),
    *("eurosat", "ucf101"),
]

_FAMILIES = {"ImageNet and its variants": VARIANTS, "Fine-grained sets": FINE_GRAINED}


def write_papers_tables(runs: Sequence[Path], out: Path) -> str:
    """Write the tables of several runs to ``out``, as CSV, Markdown and LaTeX.

    There is one table of clean images each for ImageNet and its variants, for the ten fine-grained sets and for all
    other sets, then one table per severity for every set with corruptions, one for every set with domains, and one of
    the methods' costs per set.

    Returns:
        The Markdown.

    Raises:
        UserError: when the runs do not belong in one table, naming the field and both values; when they cannot be read.
    """
    data = [read_report_data(run) for run in runs]
    _refuse_mixture(data)
    results = pd.concat([one.merged for one in data], ignore_index=True)
    tables = _tables(data, results)
    captions = [" ".join([caption(one.manifest, one.sites), *notes(one)]) for one in data]
    text = "\n\n".join(["# Methods by data set", *map(markdown, tables), *map(markdown_text, captions)]) + "\n"
    write_file(out / MARKDOWN_FILE, text.encode())
    write_file(out / LATEX_FILE, latex_document(tables, " ".join(captions), "papers").encode())
    write_file(out / CSV_FILE, results.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode())
    return text


def _tables(data: Sequence[ReportData], results: pd.DataFrame) -> list[Table]:
    clean = results[results["corruption"] == "clean"]
    tables = []
    for title, names in _FAMILIES.items():
        family = [one for one in data if _dataset_name(one) in names]
        if differing := _differing_parameters(family):
            raise UserError(f"{family[0].run} and others do not belong in one table: {differing[0]}")
        own = clean[clean["dataset"].isin(names)]
        if len(own):
            tables.append(replace(by_dataset_table(own), title=title))
    others = [one for one in data if not any(_dataset_name(one) in names for names in _FAMILIES.values())]
    own = clean[clean["dataset"].isin(map(_dataset_name, others))]
    if len(own):
        table = by_dataset_table(own)
        differing = _differing_parameters(others)
        note = " ".join([table.note, *(f"Not the same on every set: {sentence}." for sentence in differing)])
        tables.append(replace(table, title="Other sets", note=note.strip()))
    for one in data:
        name = _dataset_name(one)
        own = results[results["dataset"] == name]
        own = own[own["corruption"] != "clean"]
        for severity in sorted(set(own["severity"])):
            table = by_corruption_table(own, severity)
            tables.append(replace(table, title=f"{name}: {table.title}"))
    for one in data:
        name = _dataset_name(one)
        table = cost_table(results[results["dataset"] == name], one.manifest)
        tables.append(replace(table, title=f"{name}: {table.title}"))
    return tables


def by_dataset_table(results: pd.DataFrame) -> Table:
    """Tabulate method x data set: top-1, its average, and for ImageNet's variants the average without ImageNet itself.

    Args:
        results: results on clean images, one row per data set and method.
    """
    present = set(results["dataset"])
    names = [name for name in (*VARIANTS, *FINE_GRAINED) if name in present]
    names += [name for name in dict.fromkeys(results["dataset"]) if name not in names]
    shifted = [name for name in names if name in VARIANTS and name != "imagenet"]
    with_shift = bool(shifted) and "imagenet" in names and set(names) <= set(VARIANTS)
    rows, bold = [], set()
    for index, (method, own) in enumerate(results.groupby("method", sort=False)):
        cells = own.set_index("dataset").to_dict("index")
        tops = {name: cells[name]["top1"] if name in cells else float("nan") for name in names}
        row = [str(method)]
        for place, name in enumerate(names, 1):
            cell = cells.get(name)
            row.append("n/a" if cell is None else mean_and_deviation(cell["top1"], cell["top1_sd"], cell["seeds"]))
            if cell is not None and cell["best"]:
                bold.add((index, place))
        row.append(number(sum(tops.values()) / len(tops)))
        if with_shift:
            row.append(number(sum(tops[name] for name in shifted) / len(shifted)))
        rows.append(row)
    headers = ["method", *names, "average", *(["OOD average"] if with_shift else [])]
    return Table(headers, rows, 1, frozenset(bold), note=BOLD if bold else "")


def _refuse_mixture(data: Sequence[ReportData]) -> None:
    """Refuse runs that do not belong in one table.

    Raises:
        UserError: naming two runs and the field in which they differ, or a data set that two runs share.
    """
    first = data[0]
    for one in data[1:]:
        for field, first_value, value in (
            ("teacher", _teacher(first), _teacher(one)),
            ("precision", first.manifest.numbers.precision, one.manifest.numbers.precision),
            ("seeds", first.seeds, one.seeds),
            ("subset", _subset(first), _subset(one)),
        ):
            if value != first_value:
                raise UserError(
                    f"{first.run} and {one.run} do not belong in one table: {field} is {first_value} in the first, "
                    f"{value} in the second"
                )
        # A later commit that changes no number is the same program. One that does raises a revision, compared here.
        if differing := first.manifest.numbers.code_differences(one.manifest.numbers):
            raise UserError(f"{first.run} and {one.run} do not belong in one table: {'; '.join(differing)}")
    names = [_dataset_name(one) for one in data]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{name} is in two of the runs; a table has one result per data set and method")


def _teacher(data: ReportData) -> str:
    teacher = data.manifest.numbers.teacher
    return f"{teacher.name} ({teacher.classifier}, {teacher.weights_sha256[:12]})"


def _dataset_name(data: ReportData) -> str:
    return data.manifest.numbers.dataset.name


def _differing_parameters(data: Sequence[ReportData]) -> list[str]:
    """Describe every parameter of a method that differs between runs, with its first value and the last other one."""
    first: dict[tuple[str, str], tuple[Any, str]] = {}
    differing = {}
    for one in data:
        for method, own in _parameters(one).items():
            for key, value in own.items():
                first_value, dataset = first.setdefault((method, key), (value, _dataset_name(one)))
                if value != first_value:
                    differing[method, key] = (
                        f"{method}.{key} is {first_value} on {dataset}, {value} on {_dataset_name(one)}"
                    )
    return list(differing.values())


def _parameters(data: ReportData) -> dict[str, dict[str, Any]]:
    """Return, for every method, what may not differ within its row; a data set's own templates and sizes may."""
    numbers = data.manifest.numbers
    streams = {"streams": numbers.model_dump()["streams"]}
    return {
        name: {
            # All fields of the method, including protocol and votes, which need not follow from its parameters.
            **{key: value for key, value in own if not (key == "sentences" and own.templates == DATASET)},
            **(streams if own.protocol == "online" else {}),
        }
        for name, own in numbers.methods.items()
    }


def _subset(data: ReportData) -> str:
    dataset = data.manifest.numbers.dataset
    named = "" if dataset.named_subset is None else f"{dataset.named_subset}: "
    rule = dataset.subset.removeprefix(named)
    return named + (
        "all images" if rule.startswith("all ") else f"a subset of the images {rule[rule.index('(--limit') :]}"
    )
