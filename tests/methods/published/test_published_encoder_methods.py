"""Compare TENT, SAR and MEMO with the authors' code, on small networks with random weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from apm_tta.data.task import Task


def tolerance(minimum: float, run: Mapping[str, Any]) -> float:
    """Return the allowed rounding difference: the authors' own results change with the last digits of the pixels."""
    return max(minimum, 3 * run["sensitivity"])


def parameters(method: Any) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in method.encoder.parameters])


@pytest.mark.vectors("method_vectors/tent_*.npz")
def test_tent_is_the_authors(published: Any, drawn_timm: Any, build: Any, answer: Any, imagenet: Task) -> None:
    """Compare every batch of a stream, and the parameters at its end."""
    for name, run in published.runs.items():
        setting = {"sgd": "imagenet", "adam": "cifar"}[run["optimizer"]]
        method = build(
            "tent",
            drawn_timm(published, run),
            imagenet,
            learning_rate=run["learning_rate"],
            batch_size=run["batch"],
            setting=setting,
        )
        pixels = published.normalized(published.images(run["images"]))
        batches = [answer(method, part) for part in pixels.split(run["batch"])]
        assert published.max_difference(torch.cat(batches), f"logits_{name}") <= tolerance(5e-4, run), name
        first = published.arrays[f"logits_{name}"][: run["batch"]]
        assert np.abs(batches[0].double().numpy() - first).max() <= 1e-4, name
        if run["optimizer"] != "adam":
            # Adam takes full steps for gradients that are zero except for rounding (shifts before a BatchNorm).
            assert published.max_difference(parameters(method), f"parameters_{name}") <= tolerance(1e-4, run), name


@pytest.mark.vectors("method_vectors/sar_*.npz")
def test_sar_is_the_authors(published: Any, drawn_timm: Any, build: Any, answer: Any, imagenet: Task) -> None:
    """Compare batches, parameters, the moving average after every batch, and when the encoder recovered."""
    for name, run in published.runs.items():
        chosen = {key: run[key] for key in ("learning_rate", "margin", "rho", "recovery", "adapt_top")}
        method = build("sar", drawn_timm(published, run), imagenet, batch_size=run["batch"], **chosen)
        source = parameters(method)
        pixels = published.normalized(published.images(run["images"]))
        batches, averages, recovered = [], [], []
        for part in pixels.split(run["batch"]):
            batches.append(answer(method, part))
            averages.append(math.nan if method.average is None else method.average)
            recovered.append(torch.equal(parameters(method), source))
        assert published.max_difference(torch.cat(batches), f"logits_{name}") <= tolerance(5e-4, run), name
        first = published.arrays[f"logits_{name}"][: run["batch"]]
        assert np.abs(batches[0].double().numpy() - first).max() <= 2e-4, name
        assert published.max_difference(parameters(method), f"parameters_{name}") <= tolerance(1e-4, run), name
        assert published.max_difference(torch.tensor(averages), f"ema_{name}") <= 1e-3, name
        assert recovered == run["recovered"], name


@pytest.mark.vectors("method_vectors/memo_*.npz")
def test_memo_is_the_authors(published: Any, drawn_timm: Any, build: Any, answer: Any, imagenet: Task) -> None:
    """Compare given views through a ResNet whose BatchNorm blends in a prior, and through a ViT."""
    names = ("parameters", "optimizer", "learning_rate", "weight_decay", "steps", "prior_strength")
    for name, run in published.runs.items():
        views = published.images(run["views"])
        chosen = {key: run[key] for key in names}
        method = build("memo", drawn_timm(published, run), imagenet, views=views.shape[1], **chosen)
        logits = answer(method, published.normalized(views[:, 0]), [image[1:] for image in views])
        assert published.max_difference(logits, f"logits_{name}") <= tolerance(5e-4, run), name
