"""The cost of a pass over 196 patches: the published APM, all at once and in chunks, and ViT-B/16.

``docs/patches.py`` measures more numbers of patches, and peak memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch

from apm_tta.apm import APM, APMConfig
from apm_tta.harness.compute.measure import count_flops

ROUNDS = 5
PATCHES = 196  # of ViT-B/16's image of 224 pixels
GROUP = f"{PATCHES} patches, forward"


def measure(benchmark: Any, forward: Callable[[], torch.Tensor], shape: tuple[int, ...]) -> None:
    """Measure the seconds of ``forward`` without gradients, and count its GFLOP."""
    with torch.no_grad():
        with count_flops() as counter:
            assert forward().shape == shape
        benchmark.extra_info["gflop"] = counter.get_total_flops() / 1e9
        benchmark.pedantic(forward, rounds=ROUNDS, warmup_rounds=1)


@pytest.mark.benchmark(group=GROUP)
@pytest.mark.parametrize("chunk", [None, 16, 1])
def test_apm_query(benchmark: Any, chunk: int | None) -> None:
    """Query locations in a shuffled order, ``chunk`` at a time; None means all at once."""
    apm, generator = APM(APMConfig()), torch.Generator().manual_seed(0)
    size = apm.config.image_size
    image = torch.randn(1, 3, size, size, generator=generator)
    locations = torch.randperm(apm.config.grid**2, generator=generator)[:PATCHES]
    measure(
        benchmark,
        lambda: apm.query(apm.column(image), locations, chunk),
        (1, PATCHES, apm.config.feature_dim),
    )


@pytest.mark.benchmark(group=GROUP)
def test_vit_b_16(benchmark: Any) -> None:
    """Pass all patches at once, as its attention needs, and the class token."""
    encoder: Any = timm.create_model("vit_base_patch16_224", pretrained=False, num_classes=0).eval()
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    measure(benchmark, lambda: encoder.forward_features(image), (1, 1 + PATCHES, encoder.num_features))
