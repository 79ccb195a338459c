"""What is drawn for views: the distributions of the authors' code, from seed, id and index alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import stats
from torchvision.transforms import RandomResizedCrop

from apm_tta.views import ViewSpec, draw_views, make_views
from apm_tta.views.draws import (
    FIRST_LENGTH,
    FIRST_STEP,
    FIRST_WEIGHT,
    FLIP,
    HEIGHT,
    LEFT,
    OPERATIONS,
    ORIGINAL_SHARE,
    TOP,
    WIDTH,
)

MANY = 2001
SPECS = st.builds(
    ViewSpec,
    count=st.integers(1, 9),
    crop_scale=st.sampled_from([(0.08, 1.0), (0.5, 1.0), (1.0, 1.0)]),
    augmix=st.booleans(),
    crop=st.sampled_from(["resized", "padded"]),
)


@given(spec=SPECS, seed=st.integers(0, 2**63 - 1), width=st.integers(1, 700), height=st.integers(1, 700))
def test_fewer_views_are_the_first_of_more_and_all_lie_where_they_may(
    spec: ViewSpec, seed: int, width: int, height: int
) -> None:
    draws = draw_views(spec, seed, "a", (width, height), 32)
    more = draw_views(replace(spec, count=spec.count + 5), seed, "a", (width, height), 32)
    assert torch.equal(more[: spec.count - 1], draws)
    top, left, crop_height, crop_width = more[:, TOP:FLIP].unbind(1)
    margin = (max(1, round(height / 8)), max(1, round(width / 8))) if spec.crop == "padded" else (0, 0)
    assert (crop_height >= 1).all()
    assert (crop_width >= 1).all()
    assert (top >= -margin[0]).all()
    assert (left >= -margin[1]).all()
    assert (top + crop_height <= height + margin[0]).all()
    assert (left + crop_width <= width + margin[1]).all()


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (300, 90), (60, 400), (32, 32)])
@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.5, 1.0)])
def test_boxes_are_distributed_as_torchvisions(size: tuple[int, int], scale: tuple[float, float]) -> None:
    """Long images included, of which most tries do not fit, so that the centre is taken."""
    image = Image.new("RGB", size)
    torch.manual_seed(0)
    theirs = np.array([RandomResizedCrop.get_params(image, scale, (3 / 4, 4 / 3)) for _ in range(MANY - 1)])
    ours = draw_views(ViewSpec(MANY, scale), 0, "a", size, 224).numpy()
    for column in (TOP, LEFT, HEIGHT, WIDTH):
        assert stats.ks_2samp(ours[:, column], theirs[:, column]).statistic < 0.0616  # the 0.1 % point of 2,000
    areas = [each[:, HEIGHT] * each[:, WIDTH] for each in (ours, theirs)]
    assert stats.ks_2samp(*areas).statistic < 0.0616
    assert abs(ours[:, FLIP].mean() - 0.5) < 0.04


def test_padded_crops_are_evenly_spread() -> None:
    draws = draw_views(ViewSpec(MANY, crop="padded"), 0, "a", (32, 32), 32)
    for column in (TOP, LEFT):
        counts = np.bincount(draws[:, column].long().numpy() + 4, minlength=9)
        assert len(counts) == 9
        assert stats.chisquare(counts).pvalue > 1e-4


def test_augmix_draws_what_the_paper_says() -> None:
    draws = draw_views(ViewSpec(MANY, augmix=True), 0, "a", (32, 32), 224).numpy()
    weights = draws[:, FIRST_WEIGHT:FIRST_LENGTH]
    assert np.allclose(weights.sum(1), 1)
    for chain in range(3):  # a component of Dirichlet(1, 1, 1) is Beta(1, 2)
        assert stats.kstest(weights[:, chain], stats.beta(1, 2).cdf).pvalue > 1e-4
    assert stats.kstest(draws[:, ORIGINAL_SHARE], "uniform").pvalue > 1e-4
    lengths = draws[:, FIRST_LENGTH:FIRST_STEP].astype(int)
    assert stats.chisquare(np.bincount(lengths.flatten(), minlength=4)[1:]).pvalue > 1e-4
    kinds, values = draws[:, FIRST_STEP::2].astype(int).flatten(), draws[:, FIRST_STEP + 1 :: 2].flatten()
    assert stats.chisquare(np.bincount(kinds, minlength=len(OPERATIONS))).pvalue > 1e-4
    expected = {
        "posterize": {4},
        "rotate": {0, 1, 2, -1, -2},
        "translate_x": set(range(-7, 8)),
        "solarize": set(range(231, 255)),
    }
    for name, possible in expected.items():
        assert {round(value) for value in values[kinds == OPERATIONS.index(name)]} <= possible
    shears = np.abs(values[kinds == OPERATIONS.index("shear_x")])
    assert stats.kstest(shears, stats.uniform(0.003, 0.027).cdf).pvalue > 1e-4


@pytest.mark.vectors("method_vectors/augmix_*.npz")
def test_augmix_changes_an_image_as_much_as_the_authors(vector_file: Path) -> None:
    """Four measures of change over 400 draws against their 600; the image is as wide as a view, and its own mirror."""
    with np.load(vector_file, allow_pickle=False) as file:
        image, theirs, meta = file["image"], file["changes"], json.loads(str(file["meta"]))
    frame = np.ones((224, 224), dtype=bool)
    frame[3:-3, 3:-3] = False
    spec = ViewSpec(401, (1.0, 1.0), augmix=True)
    draws = draw_views(spec, 0, "augmix", (224, 224), 224)
    original, ours = image.transpose(2, 0, 1).astype(np.float32), []
    for part in draws.split(50):
        for view in make_views(spec, 224, [torch.from_numpy(image)], part[None])[0].numpy():
            change = view - original
            moved = np.abs(change).mean(0)[frame] > 8
            ours.append((change.mean(), change.std(), np.abs(change).mean(), moved.mean()))
    for index, what in enumerate(meta["columns"]):
        # 0.126 is the 0.1 % point of 600 against 400 draws.
        assert stats.ks_2samp(np.array(ours)[:, index], theirs[:, index]).statistic < 0.126, what
