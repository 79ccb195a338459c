"""What an APM starts from is as if it had been drawn for every image, and costs a copy."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plain_apm import plain_apm
from scipy import stats
from torch.nn.functional import normalize

from apm_tta.apm import APMConfig, DistillConfig, distill
from apm_tta.apm.distill import Fitting
from apm_tta.apm.engine import Goals
from apm_tta.apm.fresh import OFFSETS, fresh_parameters, parameter_shapes
from apm_tta.apm.kept_memory import KeptMemory

SMALL = APMConfig(image_size=8, patch_size=4, hidden=(12, 8), feature_dim=8, heads=2, rgb_hidden=4)
SEEDS = st.integers(0, 2**63 - 1)
NONE = torch.empty(0)


def flat(config: APMConfig, seed: int) -> np.ndarray:
    values = fresh_parameters(config, [seed], NONE, decode_rgb=True).values()
    return torch.cat([value.flatten() for value in values]).numpy()


@given(seeds=st.lists(SEEDS, min_size=1, max_size=4))
def test_each_image_has_its_own_whatever_comes_with_it(seeds: list[int]) -> None:
    together = fresh_parameters(SMALL, seeds, NONE, decode_rgb=True)
    for index, seed in enumerate(seeds):
        alone = fresh_parameters(SMALL, [seed], NONE)
        assert set(together) - set(alone) == {name for name in together if name.startswith("rgb_head")}
        assert all(torch.equal(together[name][index], value[0]) for name, value in alone.items())
        own = dict(plain_apm(SMALL, seed).named_parameters())
        assert all(torch.equal(together[name][index], value) for name, value in own.items())


@given(seed=SEEDS, other=SEEDS)
def test_two_images_share_all_of_it_only_where_their_seeds_agree_modulo_the_offsets(seed: int, other: int) -> None:
    assert np.array_equal(flat(SMALL, seed), flat(SMALL, other)) == (seed % OFFSETS == other % OFFSETS)


def test_every_parameter_is_another_element() -> None:
    """Were one used twice within an APM, two of its weights would be the same."""
    values = flat(APMConfig.for_teacher(32, 4, 64), 7)
    repeated = len(values) - len(np.unique(values))
    drawn = np.random.default_rng(0).standard_normal(len(values), np.float32) * np.float32(0.01)
    assert repeated <= 3 * (len(drawn) - len(np.unique(drawn))) + 10  # float32 has only so many values


@pytest.mark.parametrize("seed", [0, 5, OFFSETS - 1, 2**62 + 12345])
def test_the_distribution_is_normal(seed: int) -> None:
    config = APMConfig.for_teacher(32, 4, 64)
    values = flat(config, seed).astype(np.float64) / config.init_std
    count = len(values)
    assert abs(values.mean()) < 4 / count**0.5
    assert abs(values.var() - 1) < 4 * (2 / count) ** 0.5
    assert abs(stats.skew(values)) < 4 * (6 / count) ** 0.5
    assert abs(stats.kurtosis(values)) < 4 * (24 / count) ** 0.5
    assert stats.kstest(values, "norm").pvalue > 1e-4
    # Neighbours in the row, and in the same row of the largest matrix.
    for distance in (1, 16, config.hidden[0]):
        correlation = np.corrcoef(values[:-distance], values[distance:])[0, 1]
        assert abs(correlation) < 4 / count**0.5


def test_a_type_of_its_own_has_the_same_values() -> None:
    doubles = fresh_parameters(SMALL, [3], torch.empty(0, dtype=torch.float64))
    singles = fresh_parameters(SMALL, [3], NONE)
    assert all(torch.equal(doubles[name], value.double()) for name, value in singles.items())


IMAGES = 48
CONFIG = APMConfig(image_size=16, patch_size=4, hidden=(32, 24, 16), feature_dim=16, heads=2, rgb_hidden=8)
FIT = DistillConfig(iterations=5, learning_rate=1e-3)
_generator = torch.Generator().manual_seed(0)
PIXELS, TARGETS = torch.randn(1, 3, 16, 16, generator=_generator), torch.randn(1, 16, generator=_generator)


def errors(seeds: list[int]) -> np.ndarray:
    """Fit one image once per seed; return what is missing from the target, ``(seeds, F)``."""
    count = len(seeds)
    fitted = distill(PIXELS.expand(count, -1, -1, -1), TARGETS.expand(count, -1), CONFIG, FIT, seeds=seeds)
    return (fitted.tokens - normalize(TARGETS, dim=-1)).numpy()


@pytest.mark.parametrize("distance", [1, 2, 16, 32, 41, CONFIG.hidden[0] * (CONFIG.column_dim + CONFIG.position_dim)])
def test_images_with_near_offsets_are_no_more_alike_than_others(distance: int) -> None:
    """One image, many starts: where they end is compared between neighbours in the row, and between strangers."""
    rng = np.random.default_rng(distance)
    first = [int(each) for each in rng.integers(0, OFFSETS - distance, IMAGES)]
    one, near, far = errors(first), errors([each + distance for each in first]), errors(first[::-1])
    spread = (one - one.mean(0)) / one.std(0)
    alike = [((spread * (each - each.mean(0)) / each.std(0)).mean(1)) for each in (near, far)]
    # Correlations of independent starts have mean 0 and the standard deviation that strangers show.
    assert abs(alike[0].mean()) < 4 * alike[1].std() / IMAGES**0.5


def test_twenty_seeds_spread_as_twenty_independent_draws(capsys: pytest.CaptureFixture[str]) -> None:
    """The share of nearest prototypes that the target's own is, over runs that start from slices or from new draws."""
    images, classes, runs = 12, 6, 20
    generator = torch.Generator().manual_seed(1)
    pixels, targets = torch.randn(images, 3, 16, 16, generator=generator), torch.randn(images, 16, generator=generator)
    prototypes = normalize(torch.randn(classes, 16, generator=generator), dim=-1)

    def margins(tokens: torch.Tensor) -> float:
        best = (normalize(tokens, dim=-1) @ prototypes.T).topk(2).values
        return float((best[:, 0] - best[:, 1]).mean())

    sliced, drawn = [], []
    rng = np.random.default_rng(2)
    for run in range(runs):
        seeds = [int(each) for each in rng.integers(0, 2**63 - 1, images)]
        sliced.append(margins(distill(pixels, targets, CONFIG, FIT, seeds=seeds).tokens))
        drawn.append(margins(_from_new_draws(pixels, targets, run)))
    ratio = np.var(sliced, ddof=1) / np.var(drawn, ddof=1)
    tail = stats.f.sf(ratio, runs - 1, runs - 1)
    with capsys.disabled():
        print(f"\nvariance between runs, slices over draws: {ratio:.2f}, F test p = {2 * min(tail, 1 - tail):.2f}")
    assert 2 * min(tail, 1 - tail) > 0.001
    assert stats.ttest_ind(sliced, drawn).pvalue > 0.001


def _from_new_draws(pixels: torch.Tensor, targets: torch.Tensor, run: int) -> torch.Tensor:
    """Fit from parameters that are drawn for every image of every run."""
    generator = torch.Generator().manual_seed(run)
    fitting = Fitting(pixels, Goals(normalize(targets, dim=-1)), CONFIG, [0] * len(pixels), FIT)
    for parameter in fitting._parameters.values():
        parameter.copy_(torch.randn(parameter.shape, generator=generator).mul_(CONFIG.init_std))
    for _ in range(FIT.iterations):
        fitting.step()
    return fitting.evaluate()[0]


def fit_again(kept: KeptMemory | None, seeds: list[int], **changes: float) -> torch.Tensor:
    count = len(seeds)
    generator = torch.Generator().manual_seed(sum(seeds))
    images, targets = torch.randn(count, 3, 16, 16, generator=generator), torch.randn(count, 16, generator=generator)
    grids = torch.randn(count, 4, 4, 16, generator=generator)
    fit = DistillConfig(iterations=3, **changes)
    return distill(images, targets, CONFIG, fit, seeds=seeds, grids=grids, kept=kept).trajectory


def test_memory_that_is_kept_leaves_no_trace() -> None:
    """Of other seeds, numbers of images, and goals that fill other gradients."""
    kept = KeptMemory()
    calls: list[Callable[[KeptMemory | None], torch.Tensor]] = [
        lambda memory: fit_again(memory, [1, 2]),
        lambda memory: fit_again(memory, [3, 4]),
        lambda memory: fit_again(memory, [5, 6], grid_weight=1.0),
        lambda memory: fit_again(memory, [7, 8]),
        lambda memory: fit_again(memory, [9]),
        lambda memory: fit_again(memory, [9], rgb_weight=1.0),
    ]
    expected = [call(None) for call in calls]
    for one, other in itertools.product(range(len(calls)), range(len(calls))):
        calls[one](kept)
        assert torch.equal(calls[other](kept), expected[other])


def test_memory_of_equal_fits_is_the_same() -> None:
    kept, shapes = KeptMemory(), parameter_shapes(SMALL)
    first = kept.take(shapes, 2, NONE, "fit")
    assert kept.take(shapes, 2, NONE, "fit").parameters is first.parameters
    assert kept.take(shapes, 2, NONE, "other").parameters is not first.parameters
    kept.release()
    assert kept.take(shapes, 2, NONE, "other").parameters is not first.parameters
