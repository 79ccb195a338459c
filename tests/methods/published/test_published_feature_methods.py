"""Compare TPS and VTE with the authors' code, on random embeddings."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from apm_tta.methods import tps, vte


@pytest.mark.vectors("method_vectors/tps_*.npz")
def test_tps_is_the_authors(published: Any) -> None:
    views, weights = (torch.from_numpy(published.arrays[name]) for name in ("views", "class_weights"))
    for name, run in published.runs.items():
        chosen = {key: run[key] for key in ("share", "learning_rate", "steps")}
        logits = tps.from_features(views, weights, run["logit_scale"], **chosen)
        assert published.max_difference(logits, f"logits_{name}") <= 2e-3, name


@pytest.mark.vectors("method_vectors/vte_*.npz")
def test_vte_is_the_authors(published: Any) -> None:
    views, weights = (torch.from_numpy(published.arrays[name]) for name in ("views", "class_weights"))
    for name, run in published.runs.items():
        logits = vte.from_features(views, weights, run["logit_scale"], run["share"])
        assert published.max_difference(logits, f"logits_{name}") <= 1e-4, name
