"""The cost of corrupting one image of 224 pixels on one core: it must not be a run's bottleneck.

``pytest benchmarks/test_perf_corruptions.py`` prints every time, and fails where one is too long.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from apm_tta.data.corruptions import CORRUPTIONS, corrupt

ROUNDS, SEVERITY = 15, 3
# Limits in milliseconds: for any one corruption, and for the mean over the 15 by which ImageNet-C is scored.
MOST, MOST_MEAN = 60, 15
EXTRA = {"gaussian_blur", "saturate", "spatter", "speckle_noise"}
milliseconds: dict[str, float] = {}


@pytest.fixture(scope="module", autouse=True)
def one_core() -> Iterator[None]:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(threads)


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    """Make smooth shades with texture, and white and black in it: a corruption's time can depend on the image."""
    down, across = np.mgrid[0:224, 0:224]
    shade = np.stack([120 + 80 * np.sin(across / 25), 100 + 90 * np.cos(down / 14), 1.2 * (across + down)], axis=-1)
    texture = np.random.default_rng(0).normal(scale=12, size=shade.shape)
    return Image.fromarray(np.clip(shade + texture, 0, 255).astype(np.uint8))


@pytest.mark.benchmark(group=f"one image of 224 pixels, severity {SEVERITY}")
@pytest.mark.parametrize("name", CORRUPTIONS.names())
def test_corruption(benchmark: Any, photograph: Image.Image, name: str) -> None:
    generator = np.random.default_rng(0)
    benchmark.pedantic(
        lambda: corrupt(photograph, name, SEVERITY, rng=generator, parameters="imagenet"),
        rounds=ROUNDS,
        warmup_rounds=2,
    )
    milliseconds[name] = 1000 * benchmark.stats.stats.median
    assert milliseconds[name] < MOST


def test_the_mean_over_the_standard_corruptions(capsys: pytest.CaptureFixture[str]) -> None:
    standard = [milliseconds[name] for name in CORRUPTIONS.names() if name in milliseconds and name not in EXTRA]
    if len(standard) < 15:
        pytest.skip("the mean is over 15 corruptions, not all of which this run has timed")
    mean = statistics.fmean(standard)
    with capsys.disabled():
        print("", *(f"{name:20}{taken:6.1f} ms" for name, taken in milliseconds.items()), sep="\n")
        print(f"{'mean of the 15':20}{mean:6.1f} ms")
    assert mean < MOST_MEAN
