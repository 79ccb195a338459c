"""Growth of agreement with the level is detected where it exists, and only there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from apm_tta.data.unlabelled import one_image
from apm_tta.errors import UserError
from apm_tta.islands.agreement import Agreement, agreement
from apm_tta.islands.levels import agreements, grids_of_levels, growth
from apm_tta.teachers import Teacher
from apm_tta.teachers.square import Square


def make_agreements(slope: float, images: int = 60, levels: int = 5) -> list[list[Agreement]]:
    """Make neighbours' agreement with a slope over the levels and noise within and between images; any two fall."""
    rng = np.random.default_rng(5)
    return [
        [
            Agreement(0.5 + base + slope * level + noise, 0.3 - slope * level, 10, 0.5)
            for level, noise in enumerate(rng.normal(0, 0.02, levels))
        ]
        for base in rng.normal(0, 0.1, images)
    ]


@pytest.mark.parametrize(("slope", "verdict"), [(0.02, "grows"), (-0.02, "falls"), (0.0, "neither")])
def test_the_verdict_follows_the_slope(slope: float, verdict: str) -> None:
    grown = growth(make_agreements(slope), "neighbours")
    assert grown.verdict() == verdict
    assert grown.change.low <= grown.change.mean <= grown.change.high
    assert grown.change.low < 4 * slope < grown.change.high
    assert grown.trend.low <= grown.trend.mean <= grown.trend.high
    assert len(grown.by_level) == 5


def test_the_interval_is_that_of_an_independent_bootstrap() -> None:
    measured = make_agreements(0.0)
    values = np.array([image[-1].neighbours - image[0].neighbours for image in measured])
    rng = np.random.default_rng(1)
    means = values[rng.integers(0, len(values), (20_000, len(values)))].mean(1)
    low, high = np.percentile(means, [2.5, 97.5])
    ours = growth(measured, "neighbours").change
    assert ours.mean == pytest.approx(values.mean())
    assert (ours.low, ours.high) == (pytest.approx(low, abs=3e-4), pytest.approx(high, abs=3e-4))


def test_a_number_that_never_changes_neither_grows_nor_falls() -> None:
    grown = growth(make_agreements(0.0), "islands")
    assert (grown.change.mean, grown.change.low, grown.change.high) == (0, 0, 0)
    assert grown.verdict() == "neither"
    assert grown.growing == 0


def test_one_image_or_one_level_has_no_trend() -> None:
    for measured in (make_agreements(0.1, images=1), make_agreements(0.1, levels=1)):
        with pytest.raises(UserError, match="at least two images and two levels"):
            growth(measured, "neighbours")


def test_levels_are_the_teacher_s_layers_of_the_whole_image(embedded_teacher: Teacher) -> None:
    image = one_image("fashion-mnist:test/00001").read()
    grids = grids_of_levels(image, embedded_teacher, [3, 0, -2])
    pixels = Square(embedded_teacher.preprocessing)(image)[None]
    for grid, layer in zip(grids, (3, 0, 2), strict=True):
        torch.testing.assert_close(grid.features, embedded_teacher.encode_grid(pixels, layer)[0])
    ((first, _, _),) = agreements([image], embedded_teacher, [3, 0, -2], 0.8)
    assert first == agreement(grids[0].features, 0.8)
    with pytest.raises(UserError, match="layers 0 to 3; there is no layer 4"):
        grids_of_levels(image, embedded_teacher, [0, 4])
