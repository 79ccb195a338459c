"""The corruptions match their authors' own: their images for ImageNet, their parameters for CIFAR."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apm_tta.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt

ARITHMETIC = "the same arithmetic in the same order"
# Largest difference from the authors' image, grey levels of any channel of any pixel; None: only statistics can agree.
TOLERANCE: dict[str, tuple[int | None, str]] = {
    "brightness": (0, "scikit-image's hue, saturation and value, as theirs"),
    "contrast": (0, ARITHMETIC),
    "defocus_blur": (0, "OpenCV's filter, as theirs"),
    "elastic_transform": (0, "another Gaussian filter, equal to 1e-15; OpenCV's and SciPy's interpolation, as theirs"),
    "fog": (0, ARITHMETIC),
    "frost": (0, "the textures hold the pixels of theirs"),
    "gaussian_blur": (0, "SciPy's filter, as theirs"),
    "gaussian_noise": (0, ARITHMETIC),
    "glass_blur": (0, "the same copies, found in another order"),
    "impulse_noise": (None, "scikit-image drew it from a generator of its own"),
    "jpeg_compression": (0, "Pillow's JPEG, as theirs"),
    "motion_blur": (0, "ImageMagick's arithmetic in 16 bits; from there to 8 bits rounded down, as the vectors show"),
    "pixelate": (0, "Pillow's boxes, as theirs"),
    "saturate": (0, "scikit-image's hue, saturation and value, as theirs"),
    "shot_noise": (0, ARITHMETIC),
    "snow": (0, "SciPy's interpolation to 1e-16, ImageMagick's arithmetic"),
    "spatter": (0, "OpenCV's edges and distances, as theirs"),
    "speckle_noise": (0, ARITHMETIC),
    "zoom_blur": (0, "SciPy's interpolation to 1e-16, rounded to float32 where they round"),
}
NINETEEN = [name for name in CORRUPTIONS.names() if CORRUPTIONS.get(name).family != "c-bar"]
"""ImageNet-C-bar's have a file of their own."""
EXACT = [name for name, (limit, _) in TOLERANCE.items() if limit is not None]

# From make_cifar_c.py, in the form that the functions here take: frost's third number is the 0.2 to which the published
# code shrinks every texture, zoom_blur's two are the end and the step of its arange.
CIFAR = {
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
    "defocus_blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    "elastic_transform": (
        (0, 0, 32 * 0.08),
        (32 * 0.05, 32 * 0.2, 32 * 0.07),
        (32 * 0.08, 32 * 0.06, 32 * 0.06),
        (32 * 0.1, 32 * 0.04, 32 * 0.05),
        (32 * 0.1, 32 * 0.03, 32 * 0.03),
    ),
    "fog": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    "frost": ((1, 0.2, 0.2), (1, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)),
    "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1),
    "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.10),
    "glass_blur": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    "impulse_noise": (0.01, 0.02, 0.03, 0.05, 0.07),
    "jpeg_compression": (80, 65, 58, 50, 40),
    "motion_blur": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    "pixelate": (0.95, 0.9, 0.85, 0.75, 0.65),
    "saturate": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    "shot_noise": (500, 250, 100, 75, 50),
    "snow": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ),
    "spatter": (
        (0.62, 0.1, 0.7, 0.7, 0.5, 0),
        (0.65, 0.1, 0.8, 0.7, 0.5, 0),
        (0.65, 0.3, 1, 0.69, 0.5, 0),
        (0.65, 0.1, 0.7, 0.69, 0.6, 1),
        (0.65, 0.1, 0.5, 0.68, 0.6, 1),
    ),
    "speckle_noise": (0.06, 0.1, 0.12, 0.16, 0.2),
    "zoom_blur": ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
}


# Clean images only: the names of corrupted ones, ``IMAGE__NAME__SEVERITY.png``, end with a digit.
CLEAN_IMAGES = pytest.mark.vectors("corruption_vectors/*[!0-9].png")


def clean_and_corrupted(clean_file: Path, name: str, severity: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the image, the authors' corruption and ours from the same generator, as integers ``(224, 224, 3)``."""
    clean = Image.open(clean_file).convert("RGB")
    theirs = Image.open(clean_file.with_name(f"{clean_file.stem}__{name}__{severity}.png")).convert("RGB")
    ours = corrupt(clean, name, severity, rng=np.random.RandomState(1000 + severity), parameters="imagenet")
    first, second, third = (np.asarray(image).astype(int) for image in (clean, theirs, ours))
    return first, second, third


def test_every_corruption_has_a_tolerance() -> None:
    assert sorted(TOLERANCE) == NINETEEN


@CLEAN_IMAGES
@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("name", EXACT)
def test_equals_the_authors_own_output(vector_file: Path, name: str, severity: int) -> None:
    clean, theirs, ours = clean_and_corrupted(vector_file, name, severity)
    difference = np.abs(ours - theirs)
    limit, reason = TOLERANCE[name]
    assert difference.max() <= limit, f"{reason}: {(difference > 0).mean():.2%} of values differ"
    assert (theirs != clean).mean() > 0.02, "the vector shows no corruption"


@CLEAN_IMAGES
@pytest.mark.parametrize("severity", SEVERITIES)
def test_impulse_noise_has_the_share_of_salt_and_of_pepper_of_the_authors_own_output(
    vector_file: Path, severity: int
) -> None:
    """Both counts within four standard deviations of the difference of two draws, and nothing else is touched."""
    clean, theirs, ours = clean_and_corrupted(vector_file, "impulse_noise", severity)
    for impulse in (0, 255):
        assert not (clean == impulse).mean() > 1e-4, "the clean image must not contain impulses of its own"
        expected, found = ((values == impulse).mean() for values in (theirs, ours))
        deviation = (2 * expected * (1 - expected) / clean.size) ** 0.5
        assert abs(found - expected) < 4 * deviation, f"{found:.4f} of values are {impulse}, of theirs {expected:.4f}"
    replaced = ours != clean
    assert set(np.unique(ours[replaced])) == {0, 255}


@pytest.mark.parametrize("name", sorted(CIFAR))
def test_the_parameters_for_cifar_are_those_of_the_published_code(name: str) -> None:
    assert CORRUPTIONS.get(name).cifar == CIFAR[name]


def test_every_corruption_has_five_parameters_of_each_kind() -> None:
    assert sorted(CIFAR) == NINETEEN
    for name in NINETEEN:
        assert len(CORRUPTIONS.get(name).imagenet) == len(CORRUPTIONS.get(name).cifar) == 5
