"""Predictions become columns: the logits of a batch, value by value."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss

from apm_tta.cli import main
from apm_tta.columns import RECORD_COLUMNS
from apm_tta.harness.compute.answer_columns import (
    answer_columns,
    concatenate_rows,
    count_right,
    make_columns,
    probability_columns,
)
from apm_tta.harness.storage.records import digest_path, read_records, write_digest
from apm_tta.methods import Predictions


def test_a_batch_worked_by_hand() -> None:
    """Three classes; the first and the last are tied for the second image, and the first of them is the prediction."""
    logits = torch.tensor([[0.5, 3.0, 1.0], [2.0, -1.0, 2.0]])
    trajectory = torch.tensor([[0, 2, 1], [2, 2, 0]])
    losses, cosines = torch.tensor([[0.5, 0.25], [1.0, 0.75]]), torch.tensor([[0.1, 0.2], [0.3, 0.4]])
    table = answer_columns(Predictions(logits, trajectory, losses, cosines), torch.tensor([1, 2])).to_pydict()
    assert table["prediction"] == [1, 0]
    assert table["top5"] == [[1, 2, 0], [0, 2, 1]]
    assert table["logit_margin"] == [2.0, 0.0]
    assert table["confidence"] == pytest.approx(logits.softmax(1).amax(1).tolist())
    assert table["teacher_prediction"] == [1, 2]
    assert table["target_prediction"] == [None, None]
    assert table["iteration_predictions"] == [[0, 2, 1], [2, 2, 0]]
    assert (table["first_loss"], table["last_loss"]) == ([0.5, 1.0], [0.25, 0.75])
    assert table["last_cosine"] == pytest.approx([0.2, 0.4])
    assert table["iterations"] == [2, 2]


def test_one_class_has_no_margin_and_bfloat16_keeps_its_values() -> None:
    assert answer_columns(Predictions(torch.zeros(2, 1)), torch.zeros(2))["logit_margin"].to_pylist() == [None, None]
    half = Predictions(torch.tensor([[1.0, 3.5]], dtype=torch.bfloat16), losses=torch.tensor([[0.5]]).bfloat16())
    table = answer_columns(half, torch.zeros(1))
    assert (table["logit_margin"].to_pylist(), table["first_loss"].to_pylist()) == ([2.5], [0.5])


def test_types_are_those_of_the_records() -> None:
    types = {column.name: column.type for column in RECORD_COLUMNS}
    table = answer_columns(Predictions(torch.eye(4), torch.zeros(4, 2)), torch.zeros(4))
    assert {field.name: field.type for field in table.schema} == {name: types[name] for name in table.column_names}


def test_concatenated_rows_and_the_count_of_right_ones() -> None:
    answered = make_columns(2, id=["a", "b"], label=[1, 2], prediction=[1, 1])
    failed = make_columns(1, id=["c"], label=[3], error=["cut short"])
    table = concatenate_rows([answered, failed])
    assert table["prediction"].to_pylist() == [1, 1, None]
    assert table["error"].to_pylist() == [None, None, "cut short"]
    assert (count_right(table), count_right(failed)) == (1, 0)


def test_scores_of_probabilities_worked_by_hand() -> None:
    """Probabilities 1/2, 1/4, 1/4: Brier 1/4 + 1/16 + 1/16 of the first class, 1/4 + 9/16 + 1/16 of the second."""
    logits = torch.tensor([[2.0, 1.0, 1.0]]).log().repeat(4, 1)
    table = probability_columns(logits, [0, 1, 3, -1]).to_pydict()
    assert table["nll"] == [pytest.approx(math.log(2)), pytest.approx(math.log(4)), None, None]
    assert table["brier"] == [pytest.approx(0.375), pytest.approx(0.875), None, None]
    assert table["energy"] == pytest.approx([-math.log(4)] * 4)


def test_a_probability_that_underflows_has_a_finite_likelihood() -> None:
    """exp(-1000) is 0 in every type; the last pair of logits is as far apart as float32 goes."""
    most = torch.finfo(torch.float32).max
    table = probability_columns(torch.tensor([[0.0, 1000.0], [most, -most]]), [0, 1]).to_pydict()
    assert table["nll"] == [1000.0, most]
    assert table["brier"] == [2.0, 2.0]
    assert table["energy"] == [-1000.0, -most]


@given(st.integers(2, 6).flatmap(lambda c: st.lists(st.lists(st.floats(-50, 50), min_size=c, max_size=c), min_size=1)))
def test_scores_of_probabilities_are_those_of_scikit_learn(rows: list[list[float]]) -> None:
    logits = torch.tensor(rows)
    classes = list(range(logits.shape[1]))
    labels = [place % len(classes) for place in range(len(rows))]
    table = probability_columns(logits, labels)
    nll, brier = (table[name].to_numpy() for name in ("nll", "brier"))
    assert ((brier >= 0) & (brier <= 2)).all()
    assert (nll >= 0).all()
    p = logits.double().softmax(1).numpy()
    p /= p.sum(1, keepdims=True)
    expected = brier_score_loss(labels, p, labels=classes, scale_by_half=False)
    assert brier.mean() == pytest.approx(expected, rel=1e-5, abs=1e-9)
    safe = p[np.arange(len(p)), labels] > 1e-12  # below which scikit-learn cuts probabilities off
    if safe.any():
        expected = log_loss(np.array(labels)[safe], p[safe], labels=classes)
        assert nll[safe].mean() == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_many_images_are_scored_as_each_alone() -> None:
    """More images than are in memory at once in double precision."""
    logits = torch.randn(5000, 3, generator=torch.Generator().manual_seed(0))
    labels = [place % 3 for place in range(5000)]
    table = probability_columns(logits, labels)
    for place in (0, 2047, 2048, 4999):
        assert probability_columns(logits[place : place + 1], labels[place : place + 1]) == table.slice(place, 1)


def test_a_run_records_scores_of_probabilities_but_not_of_votes(tmp_path: Path) -> None:
    words = ["demo", "--methods", "zeroshot,zero", "--limit", "10", "--corruptions", "contrast", "--severities", "3"]
    assert main([*words, "--quiet", "--out", str(tmp_path / "run")]) == 0
    records = read_records(tmp_path / "run").to_pandas()
    records = records[records["corruption"] == "clean"].set_index("method")
    columns = ["nll", "brier", "energy"]
    assert records.loc["zeroshot", columns].notna().all(axis=None)
    assert records.loc["zero", columns].isna().all(axis=None)
    zeroshot = records.loc["zeroshot"]
    right = zeroshot[zeroshot["prediction"] == zeroshot["label"]]
    assert np.exp(-right["nll"]).to_numpy() == pytest.approx(right["confidence"].to_numpy(), rel=1e-5)
    cells = pd.read_csv(tmp_path / "run" / "results.csv").query("corruption == 'clean'").set_index("method")
    assert cells.loc["zeroshot", "nll"] == pytest.approx(zeroshot["nll"].mean(), rel=1e-5)
    assert cells.loc["zero", ["nll", "brier", "ece", "adaptive_ece", "aurc"]].isna().all()


def test_an_older_run_folder_without_the_column_is_read_reported_and_resumed(tmp_path: Path) -> None:
    """A real run whose records lose the column, as if written before it existed: only its mean is unknown."""
    words = ["demo", "--methods", "zeroshot", "--limit", "10", "--corruptions", "contrast", "--severities", "3"]
    assert main([*words, "--quiet", "--out", str(tmp_path / "run")]) == 0
    before = pd.read_csv(tmp_path / "run" / "results.csv")
    assert (before["logit_margin"] > 0).all()
    (path,) = (tmp_path / "run" / "records").rglob("contrast-3/*.parquet")
    table = pq.read_table(path).drop_columns(["logit_margin"])
    pq.write_table(table, path)
    write_digest(path, path.read_bytes())
    digests = [digest_path(file).read_bytes() for file in sorted((tmp_path / "run" / "records").rglob("*.parquet"))]
    assert main([*words, "--quiet", "--out", str(tmp_path / "run")]) == 0
    after = pd.read_csv(tmp_path / "run" / "results.csv")
    assert after["logit_margin"].isna().tolist() == [False, True]
    pd.testing.assert_frame_equal(before.drop(columns="logit_margin"), after.drop(columns="logit_margin"))
    again = [digest_path(file).read_bytes() for file in sorted((tmp_path / "run" / "records").rglob("*.parquet"))]
    assert again == digests, "nothing was answered again"
