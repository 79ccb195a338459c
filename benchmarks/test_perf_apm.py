"""The cost of an iteration of fitting: the published way, the plain way, and the engine, in one run.

``tox -e perf`` runs these and compares their ratios with ``benchmarks/baseline.json``; see ``benchmarks/ratios.py``.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from apm_tta.apm import APM, APMConfig, DistillConfig, distill
from apm_tta.apm.distill import Fitting
from apm_tta.apm.engine import Goals

ROUNDS = 5
PUBLISHED = APMConfig()
EMBEDDED = APMConfig.for_teacher(32, 4, 64)
COPIES, CHUNK = 8, 16  # the public code's identical copies of the image, and locations at a time
IMAGES = 64


def problem(config: APMConfig, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 3, config.image_size, config.image_size, generator=generator)
    return images, normalize(torch.randn(count, config.feature_dim, generator=generator), dim=-1)


def plain_iteration(tokens: Callable[[APM, torch.Tensor], torch.Tensor], copies: int) -> Callable[[], None]:
    """Build one iteration of a module with autograd and Adam; ``tokens`` runs the module."""
    (image, target), apm = problem(PUBLISHED, 1), APM(PUBLISHED)
    images = image.expand(copies, -1, -1, -1)
    optimizer = torch.optim.Adam(apm.parameters(), lr=1e-4)

    def iteration() -> None:
        loss = (tokens(apm, images) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return iteration


def matrix_product(precision: str) -> Callable[[], object]:
    """Build a product of 1024 x 4096 x 2048: the shape that takes most of an iteration's time, and so limits it."""
    dtype = getattr(torch, precision)
    left, right = torch.randn(1024, 4096).to(dtype), torch.randn(4096, 2048).to(dtype)
    out = torch.empty(1024, 2048, dtype=dtype)
    return lambda: torch.mm(left, right, out=out)


def in_chunks(apm: APM, images: torch.Tensor) -> torch.Tensor:
    """Run the public code's pass (``single_token_segmentation/model.py``).

    It takes the locations of all copies one after another, 16 at a time, runs the RGB head, and appends each chunk's
    features to the previous ones.
    """
    queries = apm.queries(apm.column(images)).flatten(0, 1)
    features = queries.new_empty(0, apm.config.feature_dim)
    colours = queries.new_empty(0, 3)
    for chunk in queries.split(CHUNK):
        own = apm.features(chunk)
        decoded = torch.cat([own, chunk], dim=-1)
        for layer in apm.rgb_head:
            decoded = layer(decoded).relu()
        features, colours = torch.cat([features, own]), torch.cat([colours, decoded])
    return apm.readout(features.unflatten(0, (len(images), -1)))


@pytest.mark.benchmark(group="an iteration, published size, one image")
def test_published_way(benchmark: Any) -> None:
    benchmark.pedantic(plain_iteration(in_chunks, COPIES), rounds=ROUNDS)


@pytest.mark.benchmark(group="an iteration, published size, one image")
def test_plain(benchmark: Any) -> None:
    benchmark.pedantic(plain_iteration(APM.token, 1), rounds=ROUNDS, warmup_rounds=2)


@pytest.mark.benchmark(group="an iteration, published size, one image")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_engine(benchmark: Any, precision: str) -> None:
    image, target = problem(PUBLISHED, 1)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        fitting = Fitting(image, Goals(target), PUBLISHED, [0], DistillConfig())
    multiply, seconds = matrix_product(precision), []

    def before_each_round() -> None:
        """Measure the machine's own rate at the same moment: it drifts by tens of percent within a run."""
        started = time.perf_counter()
        multiply()
        seconds.append(time.perf_counter() - started)

    benchmark.pedantic(fitting.step, setup=before_each_round, rounds=3 * ROUNDS, warmup_rounds=2)
    benchmark.extra_info["matrix_product"] = statistics.median(seconds)


@pytest.mark.benchmark(group="the machine")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_matrix_product(benchmark: Any, precision: str) -> None:
    benchmark.pedantic(matrix_product(precision), rounds=10 * ROUNDS, warmup_rounds=5)


@pytest.mark.benchmark(group="20 iterations, embedded size, 64 images")
def test_plain_one_after_another(benchmark: Any) -> None:
    images, targets = problem(EMBEDDED, IMAGES)

    def fit_all() -> None:
        for image, target in zip(images, targets, strict=True):
            apm = APM(EMBEDDED)
            optimizer = torch.optim.Adam(apm.parameters(), lr=1e-4)
            for _ in range(20):
                loss = (apm.token(image[None])[0] - target).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    benchmark.pedantic(fit_all, rounds=ROUNDS, warmup_rounds=1)


@pytest.mark.benchmark(group="20 iterations, embedded size, 64 images")
@pytest.mark.parametrize("together", [1, 32])
def test_engine_embedded(benchmark: Any, together: int) -> None:
    images, targets = problem(EMBEDDED, IMAGES)
    benchmark.pedantic(
        lambda: distill(images, targets, EMBEDDED, seeds=range(IMAGES), together=together),
        rounds=ROUNDS,
        warmup_rounds=1,
    )
