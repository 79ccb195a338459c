"""The committed tables are what their command writes: the cheap methods are computed again and compared."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml

from apm_tta.cli import main
from apm_tta.report.render import markdown_text

FOLDER = Path(__file__).resolve().parent.parent / "results" / "embedded"
CHEAP = ["zeroshot", "ensemble", "tda"]
ONE_IMAGE = 100 / 300
"""The share of one image, percent: another processor sums in another order, which may decide a near tie differently."""


@pytest.fixture(scope="module")
def committed() -> pd.DataFrame:
    if not FOLDER.is_dir():
        pytest.skip("results/embedded/ is part of a checkout")
    return pd.read_csv(FOLDER / "results.csv")


def test_the_cheap_methods_have_the_committed_numbers(tmp_path: Path, committed: pd.DataFrame) -> None:
    words = ["demo", "--methods", ",".join(CHEAP), "--limit", "300", "--severities", "5", "--quiet"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    again = pd.read_csv(tmp_path / "run" / "results.csv")
    expected = committed[committed["method"].isin(CHEAP)]
    keys = ["corruption", "severity", "method", "setting", "seed", "n", "errors"]
    both = expected.merge(again, on=keys, suffixes=("", "_again"))
    assert len(both) == len(expected) == len(again) == 18
    for name in ("top1", "top5", "agreement"):
        assert (both[name] - both[f"{name}_again"]).abs().max() <= 1.01 * ONE_IMAGE
    assert (both["gflop_per_image"] == both["gflop_per_image_again"]).all()


def test_the_other_files_are_of_the_same_run(committed: pd.DataFrame) -> None:
    """Every cell of the manifest is a row of results.csv, and results.md has the same numbers."""
    numbers = yaml.safe_load((FOLDER / "run.yaml").read_text())["numbers"]
    assert len(committed) == len(numbers["conditions"]) * len(numbers["methods"]) * len(numbers["seeds"])
    text = (FOLDER / "results.md").read_text()
    for row in committed.to_dict("records"):
        name = "clean" if row["corruption"] == "clean" else f"{row['corruption']} {row['severity']}"
        line = next(
            line
            for line in text.splitlines()
            if line.startswith(f"| {name} ") and f" {markdown_text(row['method'])} " in line
        )
        assert f"{row['top1']:.1f}" in line
