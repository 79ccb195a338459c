"""The building blocks of corruptions equal the slower or more general code that they replace."""

from __future__ import annotations

import io
from math import ceil

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter, zoom
from skimage.color import hsv2rgb, rgb2hsv

from apm_tta.data.corruptions import corrupt, through_jpeg
from apm_tta.data.corruptions.blur import disk_kernel
from apm_tta.data.corruptions.draws import draw_integer, draw_integers
from apm_tta.data.corruptions.elastic import smooth
from apm_tta.data.corruptions.frost_textures import FILES, FOLDER, covering_texture, load_texture
from apm_tta.data.corruptions.glass import source_pixels
from apm_tta.data.corruptions.hsv import SATURATION, VALUE, adjust_channel
from apm_tta.data.corruptions.motion import blur_along_line, motion_trail
from apm_tta.data.corruptions.plasma import plasma
from apm_tta.data.corruptions.spatter import cover_with_mud, cover_with_water
from apm_tta.data.corruptions.zoom import enlarge, sum_enlargements
from apm_tta.errors import UserError


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def noise(height: int, width: int) -> np.ndarray:
    return rng().integers(0, 256, size=(height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(("height", "width", "reach"), [(28, 40, 1), (45, 28, 2), (32, 32, 3), (60, 29, 4)])
def test_glass_equals_exchanging_views_of_one_array(height: int, width: int, reach: int) -> None:
    """Pixel after pixel draws its own offset and assigns two views of the array to each other."""
    values, generator = noise(height, width), np.random.RandomState(3)
    exchanged = values.copy()
    for row in range(height - reach, reach, -1):
        for column in range(width - reach, reach, -1):
            right, down = generator.randint(-reach, reach, size=(2,))
            here, there = (row, column), (row + down, column + right)
            exchanged[here], exchanged[there] = exchanged[there], exchanged[here]
    visited = (height - 2 * reach, width - 2 * reach, 2)
    drawn = draw_integers(np.random.RandomState(3), -reach, reach, size=visited)
    copied = values.reshape(-1, 3)[source_pixels(drawn, height, width, reach)].reshape(values.shape)
    assert np.array_equal(copied, exchanged)
    assert not np.array_equal(copied, values)


@pytest.mark.parametrize("sigma", [0, 0.1, 1.28, 6.4, 170.8])
@pytest.mark.parametrize("shape", [(224, 224), (28, 61), (1, 7)])
def test_smoothing_by_cosines_equals_scipys_filter_mirrored_at_the_edges(shape: tuple[int, int], sigma: float) -> None:
    values = rng().uniform(-1, 1, size=shape)
    expected = gaussian_filter(values, sigma, mode="reflect", truncate=3)
    assert np.abs(smooth(values, sigma) - expected).max() < 1e-14


def scipys_zoom(values: np.ndarray, factor: float) -> np.ndarray:
    """Apply ``scipy.ndimage.zoom`` to the middle, and cut the middle out of the result; black last lines included."""
    for axis in (0, 1):
        length = values.shape[axis]
        taken = ceil(length / factor)
        values = values.take(np.arange(taken) + (length - taken) // 2, axis)
        values = zoom(values, tuple(factor if along == axis else 1 for along in range(values.ndim)), order=1)
        values = values.take(np.arange(length) + (values.shape[axis] - length) // 2, axis)
    return values


@pytest.mark.parametrize("factor", [1, 1.05, 1.3, 1.75, 2.5, 4.5])
@pytest.mark.parametrize("shape", [(224, 224), (32, 32), (53, 98), (70, 29)])
def test_enlarging_equals_scipys_zoom_between_two_crops(shape: tuple[int, int], factor: float) -> None:
    values = rng().normal(size=shape)
    found = enlarge(values, factor)
    assert found.shape == shape
    assert np.abs(found - scipys_zoom(values, factor)).max() < 1e-14


def test_enlargements_are_added_up_row_after_row() -> None:
    """The height is not a multiple of the number of rows in a strip."""
    values = rng().uniform(size=(71, 50, 3)).astype(np.float32)
    factors = np.arange(1, 1.11, 0.02)
    expected = sum(scipys_zoom(values.astype(np.float64), float(factor)) for factor in factors)
    assert np.abs(sum_enlargements(values, factors) - expected).max() < 1e-5


def test_no_line_of_an_enlarged_image_is_black() -> None:
    """At 36 pixels and 1.2 times, SciPy's last position rounds to outside the image, and its last line is 0."""
    white = np.ones((36, 36, 3))
    assert scipys_zoom(white, 1.2).min() == 0
    assert enlarge(white[:, :, 0], 1.2).min() == pytest.approx(1)


@pytest.mark.parametrize(
    ("angle", "offsets"),
    [
        (0, [(0, 0), (1, 0), (2, 0), (3, 0), (4, 0)]),
        (90, [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4)]),
        (-90, [(0, 0), (0, -1), (0, -2), (0, -3), (0, -4)]),
        (45, [(0, 0), (1, 1), (1, 1), (2, 2), (3, 3)]),
    ],
)
def test_a_trail_lies_along_its_angle(angle: float, offsets: list[tuple[int, int]]) -> None:
    weights, found = motion_trail(2, 1.5, angle)
    assert found == offsets
    assert weights.sum() == pytest.approx(1)
    assert weights[2] / weights[0] == pytest.approx(np.exp(-(2**2) / (2 * 1.5**2)))


def test_motion_blur_stretches_a_point_to_one_side_and_keeps_flat_images() -> None:
    point = np.zeros((9, 9), np.uint8)
    point[4, 6] = 255
    blurred = blur_along_line(point, 2, 1.5, angle=0)
    assert set(zip(*np.nonzero(blurred), strict=True)) == {(4, column) for column in (2, 3, 4, 5, 6)}
    assert list(blurred[4, 2:7]) == sorted(blurred[4, 2:7])
    for level in range(256):
        assert (blur_along_line(np.full((3, 4, 3), level, np.uint8), 20, 15, angle=-30) == level).all()


def test_plasma_fills_its_range_and_a_higher_decay_is_smoother() -> None:
    rough, smooth = (plasma(64, decay, rng()) for decay in (1.4, 3))
    for heights in (rough, smooth):
        assert heights.shape == (64, 64)
        assert (heights.min(), heights.max()) == (0, 1)
    assert np.abs(np.diff(smooth)).mean() < 0.5 * np.abs(np.diff(rough)).mean()


@pytest.mark.parametrize("size", [0, 1, 48])
def test_plasma_needs_a_power_of_two(size: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        plasma(size, 2, rng())


def test_textures_are_read_once_and_cannot_be_written_to() -> None:
    first = load_texture("frost4.jpg")
    assert first is load_texture("frost4.jpg")
    assert covering_texture(3, 224, 224, 1) is covering_texture(3, 224, 224, 1)
    for values in (first, covering_texture(3, 224, 224, 1)):
        with pytest.raises(ValueError, match="read-only"):
            values[0, 0] = 0


def test_textures_are_those_of_the_published_code_with_their_licence() -> None:
    sizes = [load_texture(file).shape for file in FILES]
    assert sizes == [(600, 900, 3), (315, 560, 3), (315, 560, 3), (350, 527, 3), (495, 660, 3)]
    assert {path.name for path in FOLDER.iterdir()} == {*FILES, "LICENSE"}
    licence = (FOLDER / "LICENSE").read_text()
    assert "https://github.com/hendrycks/robustness" in licence
    assert "Apache License" in licence


@pytest.mark.parametrize(("height", "width"), [(1500, 2000), (2000, 300), (28, 901), (315, 28)])
def test_frost_covers_images_larger_than_its_textures(height: int, width: int) -> None:
    for index in range(len(FILES)):
        for scale in (1, 0.2):
            rows, columns, _ = covering_texture(index, height, width, scale).shape
            assert rows > height
            assert columns > width
    black = corrupt(np.zeros((height, width, 3), np.uint8), "frost", 3, rng=rng(), parameters="imagenet")
    assert black.shape == (height, width, 3)
    assert (black > 0).mean() > 0.5


def test_every_texture_is_drawn() -> None:
    drawn = {
        draw_integer(generator, 0, len(FILES)) for generator in (rng(), np.random.RandomState(0)) for _ in range(50)
    }
    assert drawn == {0, 1, 2, 3, 4}


def test_integers_are_those_that_the_old_generator_draws_one_by_one() -> None:
    """All at once yields the same stream as two at a time, as glass_blur's test vectors need. High is excluded."""
    one_by_one, at_once = np.random.RandomState(4), np.random.RandomState(4)
    expected = [one_by_one.randint(-3, 3, size=2) for _ in range(200)]
    assert np.array_equal(draw_integers(at_once, -3, 3, size=(200, 2)), expected)
    assert set(draw_integers(rng(), -3, 3, size=500)) == {-3, -2, -1, 0, 1, 2}


@pytest.mark.parametrize(("channel", "factor", "offset"), [(VALUE, 1, 0.3), (SATURATION, 2, 0.1)])
def test_changing_a_channel_part_by_part_equals_changing_it_at_once(channel: int, factor: float, offset: float) -> None:
    values = noise(100, 130)
    hsv = rgb2hsv(values / 255.0)
    hsv[:, :, channel] = np.clip(hsv[:, :, channel] * factor + offset, 0, 1)
    assert np.array_equal(adjust_channel(Image.fromarray(values), channel, factor, offset), hsv2rgb(hsv) * 255)


def test_a_lens_without_spatter_shows_the_image_as_it_is() -> None:
    """The published code divides by the depth of the deepest drop: by 0 where there is none."""
    scaled = rng().uniform(size=(40, 30, 3)).astype(np.float32)
    dry = np.zeros((40, 30))
    assert np.array_equal(cover_with_water(scaled, dry, 0.6), scaled)
    assert np.array_equal(cover_with_mud(scaled, dry > 0, 1.5), scaled)


def test_liquid_above_white_wraps_around_to_black() -> None:
    """256 is 0 in the published code's bytes, so the middle of such a drop is dry."""
    black, liquid = np.zeros((40, 40, 3), np.float32), np.zeros((40, 40))
    liquid[10:30, 10:30] = 0.8
    assert cover_with_water(black, liquid, 0.6)[14:18, 14:18].min() > 0
    liquid[14:18, 14:18] = 256 / 255
    assert cover_with_water(black, liquid, 0.6)[14:18, 14:18].max() == 0


@pytest.mark.parametrize("parameters", ["imagenet", "cifar"])
@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("name", ["brightness", "fog", "saturate", "spatter", "zoom_blur"])
def test_a_flat_image_produces_no_invalid_number(name: str, level: int, parameters: str) -> None:
    """Neither does black, whose maximum is 0, nor grey, which has no hue: a warning would be an error here."""
    flat = np.full((40, 50, 3), level, np.uint8)
    for severity in (1, 5):
        corrupted = corrupt(flat, name, severity, rng=rng(), parameters=parameters)
        if (name, level) == ("fog", 0):
            assert corrupted.max() == 0


def test_the_kernel_of_a_disk_is_computed_once() -> None:
    assert disk_kernel(3, 0.1) is disk_kernel(3, 0.1)


def test_through_jpeg_equals_a_stored_file() -> None:
    """The released files were saved with ``optimize``, which changes bytes, not pixels."""
    image, buffer = Image.fromarray(noise(40, 50)), io.BytesIO()
    image.save(buffer, "JPEG", quality=85, optimize=True)
    result = through_jpeg(image, 85)
    assert (result.mode, result.size) == ("RGB", image.size)
    assert np.array_equal(np.asarray(result), np.asarray(Image.open(buffer)))
    assert not np.array_equal(np.asarray(result), np.asarray(image))
    assert np.array_equal(
        np.asarray(through_jpeg(image, 25)),
        np.asarray(corrupt(image, "jpeg_compression", 1, rng=rng(), parameters="imagenet")),
    )
    assert through_jpeg(image.convert("RGBA"), 85).mode == through_jpeg(image.convert("L"), 85).mode == "RGB"


@pytest.mark.parametrize("quality", [0, 101, -1])
def test_a_jpeg_quality_that_does_not_exist_is_refused(quality: int) -> None:
    with pytest.raises(UserError, match=rf"JPEG quality {quality} does not exist; expected 1 to 100") as caught:
        through_jpeg(Image.new("RGB", (8, 8)), quality)
    assert caught.value.exit_code == 2
