"""Yardsticks for islands: parts that are where the mask says, scores that are the known ones, lines of the pixels."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import adjusted_rand_score

from apm_tta.data.unlabelled import one_image
from apm_tta.islands.overlay import boundary, colours_as_png, contours_as_png, enlarged
from apm_tta.islands.yardsticks.composites import SIDE, compose, draw_blob
from apm_tta.islands.yardsticks.foreground import largest_part, with_foreground
from apm_tta.islands.yardsticks.pixel_lines import colour_clusters, otsu
from apm_tta.islands.yardsticks.scores import COUNTS, adjusted_rand_index, boundary_f_measure, score


def texture(seed: int, low: int, high: int) -> Image.Image:
    """Return a picture of drawn pixels between two values."""
    pixels = np.random.default_rng(seed).integers(low, high, (256, 300, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_a_piece_has_the_mean_and_the_contrast_of_what_it_covers_and_nothing_else_changes() -> None:
    below, above = texture(1, 60, 120), texture(2, 0, 255)
    plain = compose(below, below, np.random.default_rng(5))
    made = compose(below, above, np.random.default_rng(5))
    assert np.array_equal(plain.mask, made.mask)
    square = np.asarray(below.crop((22, 0, 278, 256)).resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=float)
    pixels = np.asarray(made.image, dtype=float)
    inside = made.mask
    assert pixels[inside].mean() == pytest.approx(square[inside].mean(), abs=1.0)
    assert pixels[inside].std() == pytest.approx(square[inside].std(), rel=0.1)
    from scipy.ndimage import distance_transform_edt

    far = distance_transform_edt(~inside) > 13
    assert np.array_equal(pixels[far], np.round(square[far]))
    deep = distance_transform_edt(inside) > 13
    assert np.abs(pixels[deep] - square[deep]).mean() > 5
    again = compose(below, above, np.random.default_rng(5))
    assert again.image.tobytes() == made.image.tobytes()


def test_blobs_lie_within_the_picture_and_differ() -> None:
    from scipy.ndimage import label

    areas = []
    for seed in range(30):
        mask = draw_blob(np.random.default_rng(seed))
        assert not mask[[0, -1]].any()
        assert not mask[:, [0, -1]].any()
        assert label(mask)[1] == 1
        areas.append(mask.mean())
    assert 0.05 < min(areas) < 0.5 * max(areas) < 0.25


def test_a_photograph_without_contrast_is_no_trouble() -> None:
    grey = Image.new("RGB", (100, 80), (90, 90, 90))
    made = compose(texture(3, 0, 255), grey, np.random.default_rng(0))
    assert np.isfinite(np.asarray(made.image)).all()


def test_the_foreground_is_the_largest_part_without_its_holes() -> None:
    mask = np.zeros((9, 9), bool)
    mask[1:6, 1:6] = True
    mask[3, 3] = False
    mask[8, 8] = True
    found = largest_part(mask)
    assert found.sum() == 25
    assert found[3, 3]
    assert not found[8, 8]
    assert not largest_part(np.zeros((3, 3), bool)).any()
    boot = with_foreground(one_image("fashion-mnist:test/00083").read())
    assert boot.mask.shape == (SIDE, SIDE)
    assert 0.1 < boot.mask.mean() < 0.9


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_the_index_is_scikit_learns(data: st.DataObject) -> None:
    seed = data.draw(st.integers(0, 10**6))
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, data.draw(st.integers(1, 6)), (6, 7))
    mask = generator.random((6, 7)) < data.draw(st.floats(0, 1))
    found = adjusted_rand_index(labels, mask)
    assert found == pytest.approx(adjusted_rand_score(mask.ravel(), labels.ravel()), abs=1e-9)


def test_boundaries_within_a_hundredth_of_the_side_count() -> None:
    mask = np.zeros((224, 224), bool)
    mask[:, :100] = True
    for moved, expected in ((0, 1.0), (2, 1.0), (3, 0.0)):
        labels = np.zeros((224, 224), np.int64)
        labels[:, : 100 + moved] = 1
        assert boundary_f_measure(labels, mask) == expected
    halves = np.zeros((224, 224), np.int64)
    halves[:, :100], halves[100:, 100:] = 1, 2
    precision = 224 / (224 + 124)
    assert boundary_f_measure(halves, mask) == pytest.approx(2 * precision / (precision + 1), abs=0.02)
    assert boundary_f_measure(np.zeros((224, 224), np.int64), mask) == 0
    assert boundary_f_measure(np.zeros((4, 4), np.int64), np.zeros((4, 4), bool)) == 1


def test_labels_of_a_grid_are_compared_with_pixels() -> None:
    mask = np.zeros((224, 224), bool)
    mask[:112, :112] = True
    labels = np.array([[1, 0], [0, 0]])
    assert enlarged(labels, 2).tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    scores = score([labels] * 2, mask)
    assert scores.rand == (1.0, 1.0)
    assert scores.boundary == (1.0, 1.0)


def test_the_lines_of_the_pixels_find_a_bright_part() -> None:
    made = with_foreground(one_image("fashion-mnist:test/00083").read())
    (rand,) = score([otsu(made.image)], made.mask).rand
    assert rand > 0.5
    clusters = colour_clusters(made.image)
    assert [labels.max() + 1 for labels in clusters] == list(COUNTS)
    assert colour_clusters(Image.new("RGB", (30, 30)))[-1].max() == 0


def test_contours_lie_on_transparent_ground_between_the_islands() -> None:
    labels = np.array([[0, 0, 1, 1]] * 4)
    assert boundary(labels).tolist() == [[False, True, False, False]] * 4
    image = Image.open(io.BytesIO(contours_as_png(labels))).convert("RGBA")
    pixels = np.asarray(image)
    assert image.size == (224, 224)
    assert pixels[100, 111].tolist() == [255, 255, 255, 255]
    assert pixels[100, 112].tolist() == [0, 0, 0, 140]
    assert not pixels[:, :110, 3].any()
    assert not pixels[:, 114:, 3].any()
    large = Image.open(io.BytesIO(contours_as_png(np.zeros((300, 300), np.int64))))
    assert large.size == (300, 300)
    picture = Image.open(io.BytesIO(colours_as_png(np.full((4, 4, 3), 0.5))))
    assert (picture.size, picture.getpixel((0, 0))) == ((4, 4), (128, 128, 128))
