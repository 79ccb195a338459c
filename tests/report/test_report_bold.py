"""Bold cells are what their note claims: recomputed from the records themselves, for every table that has them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from records_by_hand import Row, read_plain, write_plain, write_rows
from scipy.stats import binomtest

from apm_tta.data.sample import CLEAN, Condition
from apm_tta.harness.plan import Cell, record_file
from apm_tta.report import write_report
from apm_tta.report.cells import BOLD, SIGNIFICANT
from apm_tta.report.papers import write_papers_tables
from apm_tta.report.render import markdown_text

METHODS = ["zeroshot", "apm", "mta", "zero"]
CONDITIONS = [CLEAN, Condition("contrast", 5), Condition("fog", 5), Condition("snow", 5)]
IMAGES = 60


def right_answers(seed: int, condition: Condition, method: str) -> np.ndarray:
    """Choose the images that a method gets right: mostly the same; the lead of the best depends on the condition."""
    place = CONDITIONS.index(condition)
    draw = np.random.default_rng([seed, place])
    right = draw.random(IMAGES) < 0.5
    gained = {"zeroshot": 0, "apm": (14, 12, 7, 4)[place], "mta": (0, 3, 6, 3)[place], "zero": (0, 1, 1, 10)[place]}
    wrong = np.flatnonzero(~right)
    start = {"zeroshot": 0, "apm": 0, "mta": 4, "zero": 9}[method]
    right[wrong[start : start + gained[method]]] = True
    return right


def run_of(folder: Path, like: Path, seeds: list[int], dataset: str = "fashion-mnist") -> Path:
    manifest = read_plain(like)
    numbers = manifest["numbers"]
    numbers["conditions"] = [str(condition) for condition in CONDITIONS]
    numbers["methods"] = {
        name: {"protocol": "episodic", "votes": False, "templates": "simple", "sentences": ["a photo of a {}."]}
        for name in METHODS
    }
    numbers["dataset"] |= {"name": dataset, "images_per_condition": IMAGES}
    numbers["seeds"], numbers["shard_size"] = seeds, IMAGES
    folder.mkdir()
    write_plain(folder, manifest)
    for seed in seeds:
        for condition in CONDITIONS:
            for method in METHODS:
                cell = Cell(dataset, condition, "embedded", method, seed)
                answers = [int(right) for right in right_answers(seed, condition, method)]
                rows = [
                    Row(f"{i:03d}", 1, None, answer, [answer], 0.5, 1, None, [], iterations=0)
                    for i, answer in enumerate(answers)
                ]
                write_rows(folder / record_file(cell, 0), cell, rows)
    return folder


def significantly_best(run: Path) -> set[tuple[str, str]]:
    """Return condition and method of every cell for which the note holds, from the Parquet files alone."""
    records = pd.concat([pq.read_table(path).to_pandas() for path in (run / "records").rglob("*.parquet")])
    records["right"] = records["prediction"] == records["label"]
    cells: set[tuple[str, str]] = set()
    for (corruption, severity), own in records.groupby(["corruption", "severity"], observed=True):
        every = []
        for _, of_seed in own.groupby("seed"):
            table = of_seed.pivot(index="id", columns="method", values="right").astype(bool)
            separate = set()
            for method in table.columns:
                others = [other for other in table.columns if other != method]
                alone = [
                    (int((table[method] & ~table[o]).sum()), int((table[o] & ~table[method]).sum())) for o in others
                ]
                p_values = sorted(binomtest(a, a + b, 0.5).pvalue if a + b else 1.0 for a, b in alone)
                # Holm: the k-th smallest of m values, k from 0, is multiplied by m - k; all are significant if each is.
                holm = all(p * (len(others) - k) < SIGNIFICANT for k, p in enumerate(p_values))
                if holm and all(a > b for a, b in alone):
                    separate.add(method)
            every.append(separate)
        name = "clean" if corruption == "clean" else f"{corruption} {severity}"
        cells |= {(name, method) for method in set.intersection(*every)}
    return cells


def bold_rows(text: str) -> set[tuple[str, str]]:
    """Return condition and method of the rows of the first table that have a bold cell."""
    return {
        (match[1].strip(), match[2].strip())
        for match in re.finditer(r"^\| (.+?) +\| (.+?) +\|.*\*\*.*$", text.split("\n## ")[0], flags=re.MULTILINE)
    }


def bold_by_corruption(text: str) -> set[tuple[str, str]]:
    """Return the same for the table of methods by corruption."""
    (section,) = [part for part in text.split("\n## ") if "Top-1 by corruption, severity 5" in part.splitlines()[0]]
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("|")
    ]
    names = lines[0]
    return {
        (f"{names[place]} 5", line[0]) for line in lines[2:] for place, cell in enumerate(line) if cell.startswith("**")
    }


@pytest.mark.parametrize("seeds", [[3], [3, 4]])
def test_bold_is_what_its_note_claims(tmp_path: Path, whole_run: Path, seeds: list[int]) -> None:
    """Both in the results table and in that of methods by corruption, for one seed and for two."""
    run = run_of(tmp_path / "run", whole_run, seeds)
    expected = significantly_best(run)
    assert expected, "the example separates some method"
    assert len(expected) < len(CONDITIONS), "but not under every condition"
    text = write_report(run).text
    assert bold_rows(text) == expected
    assert bold_by_corruption(text) == {pair for pair in expected if pair[0] != "clean"}
    assert text.count(markdown_text(BOLD)) == 2, "below each of the two tables"
    assert "apart from the second" not in text
    assert (run / "report.html").read_text(encoding="utf-8").count("better than every other method") >= 1


def test_the_note_is_below_tables_of_several_runs(tmp_path: Path, whole_run: Path) -> None:
    runs = [run_of(tmp_path / name, whole_run, [3], name) for name in ("cifar10", "cifar100")]
    text = write_papers_tables(runs, tmp_path / "out")
    assert markdown_text(BOLD) in text
    assert "apart from the second" not in text


def test_a_method_separated_only_from_the_runner_up_is_not_bold(tmp_path: Path, whole_run: Path) -> None:
    """Under fog the best method has too few images to itself against one of the others, whichever is second."""
    run = run_of(tmp_path / "run", whole_run, [3])
    assert not {pair for pair in significantly_best(run) if pair[0] == "fog 5"}
    tops = {method: int(right_answers(3, Condition("fog", 5), method).sum()) for method in METHODS}
    best = max(tops, key=lambda method: tops[method])
    assert all(tops[best] > tops[other] for other in METHODS if other != best)
