"""The committed tables are what their command writes: cheap methods are computed again and compared."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from apm_tta.api.run import resolve, run_request
from apm_tta.commands.suites import SuiteCommand
from apm_tta.report.render import markdown_text

LOOKS_AT_COSTS = True

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "results" / "embedded"
MADE = sorted(FOLDER.glob("*/severity-5-fast/results.csv"))
CHEAP = ["zeroshot", "norm", "tent", "tda"]
AGAIN = "contrast"


@pytest.fixture(scope="module")
def script() -> Any:
    if not FOLDER.is_dir():
        pytest.skip("results/embedded/ is part of a checkout")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts"))
        return importlib.import_module("make_embedded_results")


@pytest.mark.parametrize("name", [f"{file.parent.parent.name}/{file.parent.name}" for file in MADE])
def test_cheap_methods_have_the_committed_numbers(name: str, script: Any, tmp_path: Path) -> None:
    """Under one corruption, which no other condition changes.

    Another processor sums in another order, which may decide a near tie differently: by one image at most.
    """
    (part,) = [part for part in script.parts() if part.name == name]
    committed = pd.read_csv(FOLDER / name / "results.csv")
    expected = committed[committed["method"].isin(CHEAP) & (committed["corruption"] == AGAIN)]
    suite, *words = [*part.words, "--quiet", "--out", str(tmp_path / "run"), "--corruptions", AGAIN]
    words += ["--methods", ",".join(expected["method"].unique())]
    options = SuiteCommand(suite).make_context(suite, words).params
    del options["dry_run"], options["json"]
    run_request(resolve(suite, {**options, "clean": False, "foreign": None}))
    again = pd.read_csv(tmp_path / "run" / "results.csv")
    keys = ["corruption", "severity", "method", "setting", "seed", "n", "errors"]
    both = expected.merge(again, on=keys, suffixes=("", "_again"))
    assert len(both) == len(expected) == len(again) >= 3
    for column in ("top1", "top5", "agreement"):
        assert (both[column] - both[f"{column}_again"]).abs().max() <= 1.01 * 100 / script.IMAGES["severity-5"][
            script.FAST
        ]
    assert (both["gflop_per_image"] == both["gflop_per_image_again"]).all()


def test_the_other_files_are_of_the_same_runs_and_the_page_is_made_of_them(script: Any) -> None:
    """Every cell of a manifest is a row of its results.csv, and results.md has the same numbers."""
    assert script.page(FOLDER) == (FOLDER / "README.md").read_text(encoding="utf-8")
    folders = [file.parent for file in FOLDER.glob("*/*/results.csv")]
    assert {str(folder.relative_to(FOLDER)) for folder in folders} <= {part.name for part in script.parts()}
    for folder in folders:
        committed = pd.read_csv(folder / "results.csv")
        numbers = yaml.safe_load((folder / "run.yaml").read_text())["numbers"]
        assert len(committed) == len(numbers["conditions"]) * len(numbers["methods"]) * len(numbers["seeds"])
        if len(numbers["seeds"]) > 1:
            continue
        rows = [re.split(r" *\| *", line) for line in (folder / "results.md").read_text().splitlines()]
        for row in committed.to_dict("records"):
            name = "clean" if row["corruption"] == "clean" else f"{row['corruption']} {row['severity']}"
            method = markdown_text(row["method"])
            (line,) = [cells for cells in rows if cells[1:2] == [name] and method in cells and len(cells) > 10]
            assert f"{row['top1']:.1f}" in [cell.strip("* ") for cell in line]
