"""A choice among the rows of a method, by entropy and by labels, on numbers written by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

import apm_tta
from apm_tta.cli import main
from apm_tta.errors import UserError
from apm_tta.harness.compute.answer_columns import answer_columns
from apm_tta.methods import Predictions
from apm_tta.report import selection

ROWS = "zeroshot,tda,tda[positive_alpha=1],tda[positive_alpha=4]"
TOP1 = {"clean": [50.0, 60.0, 70.0, 65.0], "contrast": [40.0, 45.0, 20.0, 45.0]}
ENTROPY = {"clean": [0.1, 0.9, 0.8, 0.3], "contrast": [0.1, 0.4, 0.4, 0.7]}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> apm_tta.Run:
    out = tmp_path_factory.mktemp("selection") / "run"
    given = {"limit": 3, "corruptions": ["contrast"], "severities": [5], "devices": "cpu", "quiet": True}
    return apm_tta.run("demo", methods=ROWS, out=out, **given)


@pytest.fixture
def by_hand(run: apm_tta.Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the run have the numbers above."""

    def read(folder: Path) -> object:
        data = selection_reader(folder)
        results = data.results.copy()
        for condition, tops in TOP1.items():
            own = results["corruption"] == condition
            results.loc[own, "top1"], results.loc[own, "entropy"] = tops, ENTROPY[condition]
        return replace(data, results=results)

    selection_reader = selection.read_report_data
    monkeypatch.setattr(selection, "read_report_data", read)
    return run.folder


def test_entropy_is_that_of_the_softmax() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [2000.0, 0.0, 0.0, -3e38], [0.0, 0.0, -900.0, -900.0]])
    found = answer_columns(Predictions(logits), torch.zeros(3, dtype=torch.int64))["entropy"].to_pylist()
    assert found == pytest.approx([1.3862944, 0, 0.6931472])


def test_the_least_entropy_chooses_without_labels_and_the_oracle_with_them(by_hand: Path) -> None:
    frame = selection.select(by_hand, "entropy").frame
    assert frame.to_numpy().tolist() == [
        ["tda", "clean", 60.0, "tda[positive_alpha=4]", 65.0, 5.0, "tda[positive_alpha=1]", 70.0, 10.0],
        ["tda", "contrast 5", 45.0, "tda", 45.0, 0.0, "tda", 45.0, 0.0],
        ["tda", "mean", 52.5, "", 55.0, 2.5, "", 57.5, 5.0],
    ]


def test_without_a_criterion_only_the_oracle_is_shown(by_hand: Path) -> None:
    table = selection.select(by_hand, "none").table()
    assert table.headers == ["method", "condition", "oracle", "default top-1 %", "oracle top-1 %", "vs default"]
    assert table.rows[0] == ["tda", "clean", "tda[positive_alpha=1]", "60.0", "70.0", "+10.0"]
    assert not table.bold


def test_the_command_writes_it_in_three_forms(run: apm_tta.Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.answers()["entropy"].notna().all()
    means = run.answers(method="tda", corruption="clean")["entropy"].mean()
    assert run.results.query("method == 'tda' and corruption == 'clean'")["entropy"].item() == pytest.approx(means)
    assert main(["report", str(run.folder), "--select", "entropy"]) == 0
    text = capsys.readouterr().out
    assert "no method's result, but what tuning on the test set would buy" in text
    assert (run.folder / "selection-entropy.md").read_text() in text
    assert "oracle" in (run.folder / "selection-entropy.tex").read_text()
    assert list(pd.read_csv(run.folder / "selection-entropy.csv")["condition"])[-1] == "mean"


def test_what_has_nothing_to_choose_from_is_refused(run: apm_tta.Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run.folder), "--select", "entropy", "--partial"]) == 2
    assert "--select is of one complete run" in capsys.readouterr().err
    single = run.folder.parent / "single"
    apm_tta.run("demo", methods="zeroshot", limit=2, corruptions=[], out=single, devices="cpu", quiet=True)
    with pytest.raises(UserError, match="has no method with several rows to choose from"):
        selection.select(single, "none")
