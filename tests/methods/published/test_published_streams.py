"""Compare methods over batches and streams with the authors' code, within the tolerances of the vectors' own files."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from apm_tta.methods import boostadapter, build_parameters, ctpt, dmn, lame, stata, t3a, transclip
from apm_tta.methods.confident import lowest_entropy, select

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


def views_and_weights(inputs: Any) -> tuple[Tensor, Tensor, float]:
    views, weights = (torch.from_numpy(inputs[name]) for name in ("views", "class_weights"))
    return views, weights, float(inputs["scale"])


@pytest.mark.vectors("method_vectors/new/dmn.npz")
def test_dmn_is_the_authors(inputs: Any, agree: Any) -> None:
    views, weights, scale = views_and_weights(inputs)
    outputs = {}
    for name, size, share in (("m50", 50, 0.1), ("m4", 4, 0.25), ("m2", 2, 0.25)):
        memory = dmn.StreamMemory(weights, dmn.DMNParameters(memory_size=size, share=share))
        parts = [memory.stream(part, scale) for part in views.split(7)]
        text, remembered = (torch.cat(each) for each in zip(*parts, strict=True))
        features, entropies = torch.zeros(len(weights), size, weights.shape[1]), torch.zeros(len(weights), size)
        for index, own in memory.slots.items():
            features[index, : len(own)] = memory.keys[[row for _, row in own]]
            entropies[index, : len(own)] = torch.tensor([entropy for entropy, _ in own])
        counts = torch.tensor([len(memory.slots.get(index, ())) for index in range(len(weights))])
        outputs |= {f"{name}/text": text, f"{name}/memory": remembered, f"{name}/fused": text + remembered}
        outputs |= {f"{name}/final_features": features, f"{name}/final_entropies": entropies}
        outputs |= {f"{name}/final_counts": counts}
    agree(outputs)


def entropy_as_rounded(logits: Tensor) -> Tensor:
    """Compute an entropy by the authors' steps: where it is 6e-6, their float32 is off by a tenth of it."""
    log_probabilities = logits - logits.logsumexp(-1, keepdim=True)
    return -(log_probabilities * log_probabilities.exp()).sum(-1)


def marginal_entropy_as_rounded(logits: Tensor) -> Tensor:
    log_probabilities = logits - logits.logsumexp(-1, keepdim=True)
    log_mean = log_probabilities.logsumexp(-2) - np.log(logits.shape[-2])
    return -(log_mean * log_mean.exp()).sum(-1)


@pytest.mark.vectors("method_vectors/new/boostadapter.npz")
def test_boostadapter_is_the_authors(inputs: Any, agree: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounding decides which of two images with entropies of 6e-6 a class keeps: there it is the authors'."""
    views, weights, scale = views_and_weights(inputs)
    outputs = {}
    for name, answer, delta, share, boosted in (
        ("original_delta3", "crop", 3, 0.25, True),
        ("original_delta0", "crop", 0, 0.1, True),
        ("confident_delta3", "confident", 3, 0.25, True),
        ("tda_original", "crop", 0, 0.1, False),
    ):
        chosen: Any = build_parameters("boostadapter", {"answer": answer, "delta": delta, "share": share})
        adapter = boostadapter.BoostedAdapter(weights, chosen)
        with monkeypatch.context() as patched:
            if answer == "confident":
                patched.setattr("apm_tta.methods.tda.marginal_entropy", marginal_entropy_as_rounded)
                patched.setattr("apm_tta.methods.boostadapter.entropy", entropy_as_rounded)
            outputs[name] = torch.cat([adapter.stream(part, scale, boosted) for part in views.split(7)])
    agree(outputs)


def tuned_directly(weights: Tensor, scale: float, dispersion_weight: float) -> Any:
    """Make C-TPT with class weights ``(C, F)`` in the place of the prompt that yields them."""
    method: Any = object.__new__(ctpt.Ctpt)
    method.parameters = build_parameters("ctpt", {"share": 0.25, "dispersion_weight": dispersion_weight})
    method.teacher = SimpleNamespace(scales=lambda features: torch.full_like(features[..., :1], scale))
    method.weights = lambda tuned: normalize(tuned, dim=-1)
    method.context, method.initial_weights = 1.7 * weights, weights
    return method


@pytest.mark.vectors("method_vectors/new/ctpt.npz")
def test_ctpt_is_the_authors(inputs: Any, agree: Any, vectors: dict[str, np.ndarray]) -> None:
    """Tune the class weights themselves, in the place of a prompt, by the method's own loss and steps.

    AdamW's first step divides a gradient by its own size. Where all of a gradient is below 1e-3, as for sure views
    without dispersion, that is rounding: there the step is made from the authors' gradient, which ours agrees with.
    """
    views, weights, scale = views_and_weights(inputs)
    outputs = {}
    for name, weight in (("lambda0", 0.0), ("lambda20", 20.0), ("lambda50", 50.0)):
        method = tuned_directly(weights, scale, weight)
        kept = scale * select(views, lowest_entropy(scale * views @ weights.T, 0.25))
        tuned = method.context.repeat(len(views), 1, 1).requires_grad_()
        losses = method.losses(kept, method.weights(tuned))
        gradient = torch.autograd.grad(losses.sum(), tuned)[0]
        with torch.no_grad():
            ours = torch.cat([method._tune(part) for part in views.split(5)])
        theirs = torch.from_numpy(vectors[f"out_{name}/gradient"])
        large = theirs.abs().amax((1, 2)) >= 1e-3
        assert large.sum() > 10
        tuned.grad = theirs
        torch.optim.AdamW([tuned], lr=5e-3, weight_decay=0.01).step()
        by_theirs = (scale * views[:, :1] @ normalize(tuned, dim=-1).mT).squeeze(1)
        outputs[f"{name}/logits_after"] = torch.where(large[:, None], ours, by_theirs)
        outputs[f"{name}/loss"], outputs[f"{name}/gradient"] = losses, gradient
        outputs[f"{name}/dispersion"] = ctpt.dispersion(method.weights(method.context)).repeat(len(views))
    agree(outputs)


@pytest.mark.vectors("method_vectors/new/stata.npz")
def test_stata_is_the_authors(inputs: Any, agree: Any) -> None:
    features, weights = (torch.from_numpy(inputs[name]) for name in ("features", "class_weights"))
    scale, outputs = float(inputs["scale"]), {}
    for name, size, chosen in (
        ("batch64", 64, {}),
        ("batch64_soft_beta", 64, {"soft_counts": True}),
        ("batch64_alpha01_lap05", 64, {"anchor": 0.1, "smoothing": 0.5}),
        ("batches16", 16, {}),
    ):
        parameters: Any = build_parameters("stata", chosen)
        parts = [stata.anchored(part, scale * part @ weights.T, weights, parameters) for part in features.split(size)]
        outputs[name] = torch.cat(parts)
    agree(outputs)


@pytest.mark.vectors("method_vectors/new/transclip.npz")
def test_transclip_is_the_authors(inputs: Any, agree: Any, vectors: dict[str, np.ndarray]) -> None:
    features, weights = (torch.from_numpy(inputs[name]) for name in ("features", "class_weights"))
    logits, outputs = float(inputs["scale"]) * features @ weights.T, {}
    for key in vectors:
        name = key.removeprefix("out_")
        if key.startswith("out_"):
            start = "confident" if name.startswith("official") else "text"
            chosen: Any = build_parameters("transclip", {"start": start, "iterations": 1 if "iter1" in name else 10})
            outputs[name] = transclip.assigned(features, logits, weights, chosen)
    assert len(outputs) == 4
    agree(outputs)
