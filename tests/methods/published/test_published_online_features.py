"""Compare methods that process embeddings one by one with the authors' code, within the tolerances of its files."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from apm_tta.methods import ecalp, onzeta


@pytest.mark.vectors("method_vectors/new/onzeta.npz")
def test_onzeta_is_the_authors(inputs: Any, agree: Any) -> None:
    features, weights = (torch.from_numpy(inputs[name]) for name in ("features", "class_weights"))
    scales = torch.full((len(features), 1), float(inputs["scale"]))
    variants: dict[str, dict[str, Any]] = {
        "default": {},
        "cr1": {"label_rate": 1.0},
        "alpha05": {"alpha": 0.5},
        "beta0": {"beta": 0.0},
    }
    outputs = {}
    for name, chosen in variants.items():
        adapter = onzeta.Adapter(weights, onzeta.OnZetaParameters(length=len(features), **chosen))
        mixed, balanced = adapter.stream(features, scales)
        outputs[f"{name}/combo"], outputs[f"{name}/text"] = mixed.exp(), balanced.exp()
        outputs[f"{name}/final_w"], outputs[f"{name}/final_rho"] = adapter.proxies, adapter.multipliers
    agree(outputs)


@pytest.mark.vectors("method_vectors/new/ecalp.npz")
def test_ecalp_is_the_authors(inputs: Any, agree: Any) -> None:
    features, weights = (torch.from_numpy(inputs[name]) for name in ("features", "class_weights"))
    variants: dict[str, dict[str, Any]] = {
        "default": {},
        "gamma5_it1": {"gamma": 5.0, "steps": 1},
        "alpha05": {"alpha": 0.5},
    }
    outputs = {}
    for name, chosen in variants.items():
        scores = ecalp.Adapter(weights, ecalp.ECALPParameters(**chosen)).stream(features)
        outputs |= {f"{name}/scores": scores, f"{name}/answers": (10_000 * scores).softmax(-1)}
    agree(outputs)
