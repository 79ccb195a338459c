"""Compare methods that process embeddings one by one with the authors' code, within the tolerances of its files."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from apm_tta.methods import dpe, ecalp, onzeta

pytestmark = pytest.mark.usefixtures("one_thread")


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


@pytest.mark.vectors("method_vectors/new/dpe.npz")
def test_dpe_is_the_authors(inputs: Any, agree: Any) -> None:
    views, weights = (torch.from_numpy(inputs[name]) for name in ("views", "class_weights"))
    scales = torch.full((*views.shape[:2], 1), float(inputs["scale"]))
    variants: dict[str, dict[str, Any]] = {
        "default": {"confident_answer": False},
        "lr006_align02": {"confident_answer": False, "share": 0.25, "learning_rate": 6e-3, "align": 0.2},
        "a_all_views": {"confident_answer": True, "share": 0.25, "learning_rate": 6e-3},
    }
    agree(
        {
            name: dpe.Adapter(weights, dpe.DPEParameters(**chosen)).stream(views, scales)
            for name, chosen in variants.items()
        }
    )
