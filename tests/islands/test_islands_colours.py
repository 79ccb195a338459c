"""Colours are seeded, the same on any number of threads, and turned without distortion."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from apm_tta.errors import UserError
from apm_tta.islands import colours as module
from apm_tta.islands.colours import KINDS, Kind, colours, joint_colours


def halves(seed: int, size: float = 1.0) -> torch.Tensor:
    """Return a grid of 8 x 8 locations: features are alike within the left half and within the right half."""
    features = 0.1 * torch.randn(8, 8, 16, generator=torch.Generator().manual_seed(seed))
    features[:, :4, 0] += 3
    features[:, 4:, 1] += 3
    return features * size


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_picture_on_any_number_of_threads(kind: Kind) -> None:
    before = torch.get_num_threads()
    pictures = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        pictures.append(colours([halves(0), halves(1)], kind, 3))
    torch.set_num_threads(before)
    for one, other in zip(*pictures, strict=True):
        assert np.array_equal(one.picture, other.picture)
        assert one.trustworthiness == other.trustworthiness


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1e-6, 1.0, 1e5])
def test_two_halves_have_two_colours_however_large_the_features(kind: Kind, size: float) -> None:
    (shading,) = colours([halves(0, size)], kind, 0)
    shades = shading.picture.reshape(-1, 3)
    distances = np.linalg.norm(shades[:, None] - shades[None], axis=-1) + np.diag(np.full(64, np.inf))
    half = np.tile(np.arange(8) >= 4, 8)
    assert (half[distances.argmin(1)] == half).mean() >= 0.85, "the location of the nearest colour is in the same half"
    assert shading.picture.shape == (8, 8, 3)
    assert shading.picture.min() >= 0
    assert shading.picture.max() <= 1
    assert 0 < shading.trustworthiness <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_equal_features_have_one_colour(kind: Kind) -> None:
    (shading,) = colours([torch.full((4, 4, 8), 7.3)], kind, 0)
    assert np.ptp(shading.picture.reshape(-1, 3), axis=0).max() == 0
    assert shading.trustworthiness == 1


def test_an_embedding_is_turned_towards_the_previous_one_without_distortion() -> None:
    rng = np.random.default_rng(0)
    before = rng.normal(size=(50, 3))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turned = module._turn_towards(before @ turn + 5, before)
    np.testing.assert_allclose(turned, before - before.mean(0), atol=1e-10)
    other = rng.normal(size=(50, 3))
    again = module._turn_towards(other, before)
    distances = [np.linalg.norm(one[:, None] - one[None], axis=-1) for one in (other, again)]
    np.testing.assert_allclose(*distances, atol=1e-10)


def test_in_joint_colours_a_feature_has_the_same_colour_in_every_picture() -> None:
    first, second = halves(0), halves(1)
    second[0, 0] = first[5, 6]
    pictures = joint_colours([first, second])
    np.testing.assert_allclose(pictures[0][5, 6], pictures[1][0, 0], atol=1e-12)


def test_large_grids_are_drawn_by_their_principal_components_at_full_resolution() -> None:
    """t-SNE of so many locations takes minutes: it is refused, and nothing is averaged."""
    grid = torch.randn(70, 66, 4, generator=torch.Generator().manual_seed(0))
    (shading,) = colours([grid], "pca", 0)
    assert shading.picture.shape == (70, 66, 3)
    assert 0.5 < shading.trustworthiness < 1
    for kind in ("tsne1", "tsne3"):
        with pytest.raises(UserError, match="at most 32 x 32 locations, not 70 x 66; choose --colours pca"):
            colours([grid], kind, 0)


def test_one_point_far_out_does_not_make_all_others_one_colour() -> None:
    points = np.random.default_rng(0).normal(size=(64, 3))
    points[7] = 1000
    shaded = module._shade(points)
    assert shaded[np.arange(64) != 7].std() > 0.1
    assert np.array_equal(shaded[7], np.ones(3))
