"""Methods over embeddings give the answers of their algorithms as published, which the benchmark times them against."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from apm_tta.methods import mta, tda, tps, vte, zero

SCALE = 100.0


@pytest.fixture(scope="module")
def baselines() -> Any:
    """Return the folder of the benchmark as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).resolve().parents[2]))
        import_module("benchmarks.baselines.plain")
        import_module("benchmarks.baselines.embeddings")
        return import_module("benchmarks.baselines")


@pytest.fixture(params=[torch.float64, torch.float32], ids=["float64", "float32"])
def inputs(request: pytest.FixtureRequest, baselines: Any) -> tuple[Tensor, Tensor]:
    """Return views ``(B, N, F)`` and class weights ``(C, F)`` with the cosines of CLIP."""
    views, weights = baselines.embeddings.draw(images=12, classes=60, width=64, views=32)
    return views.to(request.param), weights.to(request.param)


@pytest.mark.parametrize(("method", "tolerance"), [(vte, 1e-4), (zero, 1e-4), (mta, 1e-4), (tps, 2e-3)])
def test_answers_are_those_of_the_published_algorithm(
    method: Any, tolerance: float, inputs: tuple[Tensor, Tensor], baselines: Any
) -> None:
    """In float32 a shift of TPS, whose gradient is divided by its own size, differs where that size is rounding."""
    views, weights = inputs
    plain: Callable[..., Tensor] = getattr(baselines.plain, method.__name__.rpartition(".")[2])
    expected = torch.stack([plain(one, weights, SCALE) for one in views])
    together = method.from_features(views, weights, SCALE)
    alone = torch.stack([method.from_features(one, weights, SCALE) for one in views])
    allowed = 1e-6 if views.dtype == torch.float64 and method is not zero else tolerance
    if method is zero:  # below a vote, it ranks classes of equal votes
        together, alone = together.round(), alone.round()
    torch.testing.assert_close(together, expected, rtol=0, atol=allowed)
    torch.testing.assert_close(alone, expected, rtol=0, atol=allowed)
    assert (expected - SCALE * views[:, 0] @ weights.T).abs().max() > 10 * allowed, "nothing was adapted"


@pytest.mark.parametrize("views_per_image", [1, 32])
def test_answers_of_a_stream_are_those_of_the_published_algorithm(
    views_per_image: int, inputs: tuple[Tensor, Tensor], baselines: Any
) -> None:
    _, weights = inputs
    views, _ = baselines.embeddings.draw(images=400, classes=60, width=64, views=views_per_image)
    views = views.to(weights.dtype)
    plain, ours = baselines.plain.Tda(weights, SCALE), tda.Adapter(weights)
    expected = torch.stack([plain(one) for one in views])
    answers = torch.cat([ours.stream(part, SCALE) for part in views.split(16)])
    assert sum(map(len, plain.negative.values())) > 10
    torch.testing.assert_close(answers, expected, rtol=0, atol=1e-6 if weights.dtype == torch.float64 else 1e-4)
