"""Every corruption respects size, type, seed and parameters; invalid inputs are refused."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from apm_tta.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from apm_tta.data.corruptions.revisions import C_BAR
from apm_tta.errors import UnknownName, UserError

DETERMINISTIC = [
    "brightness",
    "contrast",
    "defocus_blur",
    "gaussian_blur",
    "jpeg_compression",
    "pixelate",
    "saturate",
    "zoom_blur",
]
RANDOM = [
    "elastic_transform",
    "fog",
    "frost",
    "gaussian_noise",
    "glass_blur",
    "impulse_noise",
    "motion_blur",
    "shot_noise",
    "snow",
    "spatter",
    "speckle_noise",
]
NAMES = sorted(DETERMINISTIC + RANDOM)
# The authors' parameters of these do not simply grow with severity (saturate: less, then more; spatter: water, then
# mud), or random draws matter more (frost: which texture). The tables themselves are compared elsewhere.
NOT_ORDERED = {
    "elastic_transform",
    "fog",
    "frost",
    "glass_blur",
    "motion_blur",
    "saturate",
    "snow",
    "spatter",
}


def picture(width: int, height: int) -> Image.Image:
    """Draw an image as detailed as a photograph: smooth shading with texture, no pixels equal by chance."""
    rng = np.random.default_rng(width * 1000 + height)
    down, across = np.mgrid[0:height, 0:width]
    shade = np.stack([120 + 80 * np.sin(across / 5), 100 + 90 * np.cos(down / 4), 2.0 * (across + down)], axis=-1)
    return Image.fromarray(np.clip(shade + rng.normal(scale=12, size=shade.shape), 0, 255).astype(np.uint8))


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def test_these_nineteen_are_registered() -> None:
    """This file covers every name below: a twentieth one must be added here too; those of C-bar have their own file."""
    assert len(NAMES) == 19
    assert [name for name in CORRUPTIONS.names() if CORRUPTIONS.get(name).family != C_BAR] == NAMES


@pytest.mark.vectors("corruption_vectors/*__contrast__4.png")
def test_a_photograph_of_224_pixels_takes_imagenet_parameters_by_default(vector_file: Path) -> None:
    """The default of ``parameters`` yields the authors' ImageNet image for an image of ImageNet's size."""
    clean = Image.open(vector_file.with_name(f"{vector_file.stem.split('__')[0]}.png")).convert("RGB")
    expected = Image.open(vector_file).convert("RGB")
    assert np.array_equal(pixels(corrupt(clean, "contrast", 4, rng=rng())), pixels(expected))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(28, 28), (90, 70), (33, 120)])
def test_keeps_size_and_type_at_every_severity(name: str, size: tuple[int, int]) -> None:
    """Square or not, below and above 64 pixels: RGB uint8 of the same size, changed by every severity."""
    clean = picture(*size)
    for severity in SEVERITIES:
        result = corrupt(clean, name, severity, rng=rng())
        assert isinstance(result, Image.Image)
        assert (result.mode, result.size) == ("RGB", size)
        assert np.asarray(result).dtype == np.uint8
        assert not np.array_equal(pixels(result), pixels(clean))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15)
@given(
    width=st.integers(28, 300),
    height=st.integers(28, 300),
    severity=st.sampled_from(SEVERITIES),
    parameters=st.sampled_from(["imagenet", "cifar"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_size_is_corrupted_and_the_same_seed_gives_the_same_image(
    name: str, width: int, height: int, severity: int, parameters: str, seed: int
) -> None:
    clean = np.array(picture(width, height))
    first, second = (
        corrupt(clean, name, severity, rng=np.random.default_rng(seed), parameters=parameters) for _ in range(2)
    )
    assert (first.shape, first.dtype) == (clean.shape, np.uint8)
    assert np.array_equal(first, second)


@pytest.mark.parametrize("parameters", ["imagenet", "cifar"])
@pytest.mark.parametrize("name", [name for name in NAMES if name not in NOT_ORDERED])
def test_a_higher_severity_is_further_from_the_clean_image(name: str, parameters: str) -> None:
    """The five parameters of each table are in the order of severity, and no two are the same."""
    clean = picture(224, 160) if parameters == "imagenet" else picture(32, 32)
    images = [pixels(corrupt(clean, name, severity, rng=rng(), parameters=parameters)) for severity in SEVERITIES]
    errors = [float(((image - pixels(clean)) ** 2).mean()) for image in images]
    assert all(low < high for low, high in pairwise(errors)), errors


@pytest.mark.parametrize("name", NAMES)
def test_an_array_gives_the_array_of_the_image_it_holds(name: str) -> None:
    clean = picture(50, 40)
    from_image = corrupt(clean, name, 3, rng=rng())
    from_array = corrupt(np.asarray(clean), name, 3, rng=rng())
    assert isinstance(from_image, Image.Image)
    assert isinstance(from_array, np.ndarray)
    assert from_array.dtype == np.uint8
    assert np.array_equal(from_array, np.asarray(from_image))


@pytest.mark.parametrize("name", NAMES)
def test_the_input_stays_as_it_was(name: str) -> None:
    image, array = picture(40, 40), np.array(picture(40, 40))
    before = array.copy()
    corrupt(image, name, 5, rng=rng())
    corrupt(array, name, 5, rng=rng())
    assert np.array_equal(np.asarray(image), before)
    assert np.array_equal(array, before)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_generator_state_gives_the_same_image_whatever_the_global_seed(name: str) -> None:
    clean = picture(40, 40)
    np.random.seed(1)
    first = pixels(corrupt(clean, name, 3, rng=np.random.default_rng(9)))
    state = np.random.get_state()[1].copy()
    np.random.seed(2)
    second = pixels(corrupt(clean, name, 3, rng=np.random.default_rng(9)))
    np.random.seed(1)
    assert np.array_equal(first, second)
    assert np.array_equal(state, np.random.get_state()[1]), "a corruption drew from NumPy's global generator"


@pytest.mark.parametrize("name", RANDOM)
def test_another_seed_gives_another_image(name: str) -> None:
    clean = picture(40, 40)
    first, second = (pixels(corrupt(clean, name, 5, rng=np.random.default_rng(seed))) for seed in (1, 2))
    assert (first != second).mean() > 0.1


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_deterministic_corruptions_draw_nothing_from_the_generator(name: str) -> None:
    generator = np.random.default_rng(3)
    before = generator.bit_generator.state
    corrupt(picture(40, 40), name, 3, rng=generator)
    assert generator.bit_generator.state == before


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("size", "authors", "others"),
    [
        ((63, 63), "cifar", "imagenet"),
        ((200, 63), "cifar", "imagenet"),
        ((63, 200), "cifar", "imagenet"),
        ((64, 64), "imagenet", "cifar"),
    ],
)
def test_the_shorter_side_decides_whose_parameters_are_taken(
    name: str, size: tuple[int, int], authors: str, others: str
) -> None:
    """Below 64 pixels they are CIFAR's, from 64 on ImageNet's; the two differ, so that the choice matters."""
    clean = picture(*size)
    chosen = pixels(corrupt(clean, name, 4, rng=rng()))
    assert np.array_equal(chosen, pixels(corrupt(clean, name, 4, rng=rng(), parameters=authors)))
    assert not np.array_equal(chosen, pixels(corrupt(clean, name, 4, rng=rng(), parameters=others)))


@pytest.mark.parametrize(("severity", "deviation"), [(1, 0.04), (5, 0.10)])
def test_cifar_noise_has_the_published_standard_deviation(severity: int, deviation: float) -> None:
    """CIFAR's numbers have no test vectors: noise on mid-grey is measured instead (truncation costs half a level)."""
    grey = np.full((300, 300, 3), 128, np.uint8)
    noise = corrupt(grey, "gaussian_noise", severity, rng=rng(), parameters="cifar").astype(float) - 128
    assert noise.std() / 255 == pytest.approx(deviation, rel=0.01)
    assert noise.mean() == pytest.approx(-0.5, abs=0.3)


def test_contrast_and_pixelate_leave_a_flat_image_flat() -> None:
    """Neither shifts brightness by more than the truncation of the published code, one grey level.

    (defocus_blur does: its authors' kernel, cut at its edge, does not sum to 1.)
    """
    flat = np.full((80, 80, 3), 200, np.uint8)
    for name in ("contrast", "pixelate"):
        for severity in SEVERITIES:
            result = corrupt(flat, name, severity, rng=rng()).astype(int)
            assert np.abs(result - 200).max() <= 1, (name, severity)


def test_pixelate_makes_blocks_of_the_same_share_of_both_sides() -> None:
    """The test vectors are square: here a wide image at 0.25 keeps a quarter of its columns and of its rows."""
    result = pixels(corrupt(picture(120, 80), "pixelate", 5, rng=rng()))
    assert len(np.unique(result, axis=1)[0]) == 30
    assert len(np.unique(result, axis=0)) == 20


@pytest.mark.parametrize("mode", ["RGBA", "I;16", "F", "P", "CMYK"])
def test_an_image_whose_conversion_would_lose_something_is_refused(mode: str) -> None:
    with pytest.raises(UserError, match=f"an image of mode {mode} cannot be corrupted; convert it to RGB first"):
        corrupt(Image.new(mode, (40, 40)), "contrast", 1, rng=rng())


def test_a_grey_image_is_taken_as_rgb() -> None:
    grey = picture(40, 40).convert("L")
    for name in NAMES:
        expected = corrupt(grey.convert("RGB"), name, 2, rng=rng())
        assert np.array_equal(pixels(corrupt(grey, name, 2, rng=rng())), pixels(expected))


def test_an_unknown_corruption_is_refused_with_the_names_that_exist() -> None:
    with pytest.raises(UnknownName, match="unknown corruption 'gausian_noise'") as caught:
        corrupt(picture(28, 28), "gausian_noise", 1, rng=rng())
    assert caught.value.exit_code == 2
    assert "; there are: gaussian_noise, plasma_noise, " in str(caught.value)
    assert str(caught.value).endswith("did you mean gaussian_noise?")


@pytest.mark.parametrize("severity", [0, 6, -1])
def test_a_severity_that_does_not_exist_is_refused(severity: int) -> None:
    with pytest.raises(UserError, match=rf"severity {severity} of contrast .*1 to 5") as caught:
        corrupt(picture(28, 28), "contrast", severity, rng=rng())
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((28, 28), np.uint8),
        np.zeros((28, 28, 1), np.uint8),
        np.zeros((28, 28, 4), np.uint8),
        np.zeros((3, 28, 28), np.uint8),
        np.zeros((1, 28, 28, 3), np.uint8),
        np.zeros((28, 28, 3), np.float32),
        np.zeros((28, 28, 3), np.int64),
        np.zeros((28, 28, 3), bool),
    ],
    ids=lambda array: f"{array.dtype}-{'x'.join(map(str, array.shape))}",
)
def test_an_array_of_another_kind_is_refused(array: np.ndarray) -> None:
    """The message names the actual and the expected input."""
    with pytest.raises(UserError, match=r"expected uint8 \(H, W, 3\)") as caught:
        corrupt(array, "contrast", 1, rng=rng())
    assert str(array.dtype) in str(caught.value)
    assert str(array.shape) in str(caught.value)


def test_invalid_images_severities_and_parameter_sets_are_refused() -> None:
    image, rng = Image.new("RGB", (28, 28)), np.random.RandomState(0)
    with pytest.raises(UserError, match="a str cannot be corrupted"):
        corrupt("image.png", "contrast", 3, rng=rng)  # type: ignore[call-overload]
    with pytest.raises(UserError, match=r"severity 3.0 of contrast does not exist"):
        corrupt(image, "contrast", 3.0, rng=rng)  # type: ignore[call-overload]
    with pytest.raises(UserError, match="there are: cifar, imagenet"):
        corrupt(image, "contrast", 3, rng=rng, parameters="tiny")  # type: ignore[call-overload]


def test_a_corrupted_array_can_be_written_to() -> None:
    corrupted = corrupt(np.zeros((28, 28, 3), np.uint8), "contrast", 3, rng=np.random.RandomState(0))
    corrupted[0, 0] = 255
    assert corrupted.max() == 255
