"""Compare methods over batches and streams with the authors' code, within the tolerances of the vectors' own files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from apm_tta.data.task import Task
from apm_tta.methods import lame, t3a

CLASSES = tuple(f"class {index}" for index in range(10))


def batches(inputs: Mapping[str, np.ndarray], key: str = "images") -> list[Tensor]:
    return list(torch.from_numpy(inputs[key]))


@pytest.mark.vectors("method_vectors/new/lame.npz")
def test_lame_is_the_authors(inputs: Any, agree: Any) -> None:
    features, weights = (torch.from_numpy(inputs[name]) for name in ("features", "class_weights"))
    logits = float(inputs["scale"]) * features @ weights.T
    variants: dict[str, dict[str, Any]] = {
        "rbf": {},
        "knn": {"affinity": "knn"},
        "linear": {"affinity": "linear"},
        "rbf_1step": {"steps": 1},
        "knn_1step": {"affinity": "knn", "steps": 1},
        "linear_1step": {"affinity": "linear", "steps": 1},
        "knn_symmetric": {"affinity": "knn", "symmetric": True},
    }
    outputs = {}
    for name, chosen in variants.items():
        parts = zip(logits.split(16), features.split(16), strict=True)
        outputs[name] = torch.cat([lame.from_logits(*part, **chosen) for part in parts]).exp()
    agree(outputs)


@pytest.mark.vectors("method_vectors/new/t3a.npz")
def test_t3a_is_the_authors(inputs: Any, agree: Any) -> None:
    features, weights, bias = (torch.from_numpy(inputs[name]) for name in ("features", "class_weights", "bias"))
    scale, outputs = float(inputs["scale"]), {}
    for name, most, size, own in (
        ("k20_b16", 20, 16, None),
        ("k5_b16", 5, 16, None),
        ("k5_b1", 5, 1, None),
        ("k2_b16_bias", 2, 16, bias),
    ):
        supports = t3a.Supports(weights, scale, most, own)
        logits = scale * features @ weights.T + (0 if own is None else own)
        parts = zip(features.split(size), logits.split(size), strict=True)
        outputs[name] = torch.cat([supports.stream(*part) for part in parts])
        counts = {predicted: len(each) for predicted, each in supports.cache.entropies.items()}
        outputs[f"{name}/final_counts"] = torch.tensor([counts[index] for index in range(len(weights))])
    agree(outputs)


@pytest.mark.vectors("method_vectors/new/bn.npz")
def test_norm_is_the_authors(inputs: Any, agree: Any, network: Any, build: Any, answer: Any) -> None:
    images = batches(inputs)
    singles = torch.cat(images)[:32].split(1)
    outputs = {}
    for name, alpha, parts in (
        ("bn1_b16", None, images),
        ("alpha0.1_b16", 0.1, images),
        ("alpha0.5_b16", 0.5, images),
        ("alpha1.0_b16", 1.0, images),
        ("bn1_b1", None, singles),
        ("alpha0.1_b1", 0.1, singles),
    ):
        method = build("norm", network("bn"), Task(CLASSES), alpha=alpha, batch_size=len(parts[0]))
        answers = [answer(method, part) for part in parts]
        outputs[name] = torch.stack(answers) if parts is images else torch.cat(answers)
    agree(outputs)


def adapted(method: Any, names: list[str]) -> dict[str, Tensor]:
    """Return the moved parameters by their names in the network."""
    found = dict(method.encoder._copy.named_parameters())
    return {name: next(value for own, value in found.items() if own.endswith(name)) for name in names}


@pytest.mark.vectors("method_vectors/new/eata.npz")
def test_eta_is_the_authors(
    inputs: Any, agree: Any, network: Any, build: Any, answer: Any, vectors: dict[str, np.ndarray]
) -> None:
    outputs: dict[str, Any] = {}
    for prefix, chosen in (
        ("bn/eta_default", {"learning_rate": 2.5e-4, "redundancy": 0.05}),
        ("bn/eta_lr01_d0.4", {"learning_rate": 0.01, "redundancy": 0.4}),
        ("bn/eta_lr01_e0.7_d0.4", {"learning_rate": 0.01, "margin": 0.7, "redundancy": 0.4}),
        ("ln/eta_m", {"learning_rate": 0.01, "margin": 0.7, "redundancy": 0.4}),
    ):
        kind = prefix.partition("/")[0]
        method = build("eta", network(kind), Task(CLASSES), batch_size=16, **chosen)
        outputs[f"{prefix}/logits"] = torch.stack([answer(method, part) for part in batches(inputs, f"{kind}/images")])
        outputs[f"{prefix}/probs"] = method.average
        if f"out_{prefix}/updates" in vectors:
            outputs[f"{prefix}/updates"] = torch.tensor(method.passed)
        start = f"out_{prefix}/param/"
        names = [key.removeprefix(start) for key in vectors if key.startswith(start)]
        outputs |= {f"{prefix}/param/{name}": value for name, value in adapted(method, names).items()}
    agree(outputs)


@pytest.mark.vectors("method_vectors/new/rdumb.npz")
def test_rdumb_is_the_authors(
    inputs: Any, agree: Any, network: Any, build: Any, answer: Any, vectors: dict[str, np.ndarray]
) -> None:
    outputs: dict[str, Any] = {}
    for name, every, rate in (("every3", 3, 0.01), ("never", 1000, 0.01), ("every1000_authors", 1000, 2.5e-4)):
        chosen = {"every": every, "learning_rate": rate, "margin": 0.7, "redundancy": 0.4, "batch_size": 16}
        method = build("rdumb", network("bn"), Task(CLASSES), **chosen)
        outputs[f"{name}/logits"] = torch.stack([answer(method, part) for part in batches(inputs)])
        outputs[f"{name}/probs"] = method.average
        start = f"out_{name}/param/"
        names = [key.removeprefix(start) for key in vectors if key.startswith(start)]
        outputs |= {f"{name}/param/{own}": value for own, value in adapted(method, names).items()}
    agree(outputs)
