"""Calibration error and mean corruption error against the authors' code."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch

from apm_tta.report.corruption_error import mean_corruption_error
from apm_tta.report.statistics import calibration_error


@pytest.mark.vectors("method_vectors/ece_*.npz")
def test_calibration_error_equals_the_authors(vectors: dict[str, np.ndarray]) -> None:
    expected = json.loads(str(vectors["meta"]))["ece"]
    assert expected
    for case, error in enumerate(expected):
        probabilities = torch.from_numpy(vectors[f"logits_{case}"].astype(np.float32)).softmax(1)
        confidence, predicted = probabilities.max(1)
        correct = predicted.numpy() == vectors[f"labels_{case}"]
        assert abs(calibration_error(confidence.numpy().astype(np.float64), correct) - error) <= 1e-6, case


@pytest.mark.vectors("method_vectors/mce_*.npz")
def test_mean_corruption_error_equals_the_authors(vectors: dict[str, np.ndarray]) -> None:
    meta = json.loads(str(vectors["meta"]))
    rows = [("clean", 0, meta["clean_accuracy"])]
    rows += [
        (name, severity, accuracy)
        for name, of_severities in zip(meta["corruptions"], vectors["accuracy"], strict=True)
        for severity, accuracy in enumerate(of_severities, 1)
    ]
    cells = pd.DataFrame(rows, columns=["corruption", "severity", "top1"]).assign(method="m", seed=0)
    cells["top1"] *= 100
    errors = mean_corruption_error(cells, 1000).iloc[0]
    assert abs(errors.mce - meta["mce"]) <= 1e-9
    assert abs(errors.relative_mce - meta["relative_mce_by_the_papers_formula"]) <= 1e-9
