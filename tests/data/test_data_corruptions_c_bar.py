"""ImageNet-C-bar's corruptions are their authors' own: equal to the published code's output, from the same draws.

``c_bar_digests.json`` has SHA-256s of what facebookresearch/augmentation-corruption (ba4d5a5, ``build_transform`` of
each name at each severity of ``imagenet_c_bar.csv``) makes of ``picture`` with NumPy 2.4 after
``np.random.seed(1000 + severity)``, by severity and side.
"""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import apm_tta
from apm_tta.data.cards import load_card
from apm_tta.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt, corruptions_for
from apm_tta.data.dataset import open_dataset
from apm_tta.data.sample import Condition
from apm_tta.errors import UnknownName, UserError
from apm_tta.harness.request.suite import load_suite
from apm_tta.report.citations import cite

PUBLISHED: dict[str, dict[str, str]] = json.loads(
    Path(__file__).with_name("c_bar_digests.json").read_text(encoding="utf-8")
)
WITHOUT_CIFAR = {
    "caustic_refraction",
    "cocentric_sine_waves",
    "perlin_noise",
    "plasma_noise",
    "single_frequency_greyscale",
}


def picture(height: int, width: int | None = None) -> np.ndarray:
    """Return slopes, edges and fine texture in three unlike channels, by integers alone."""
    side = max(height, width or height)
    row, column = np.mgrid[:side, :side]
    red = (row * 200) // side + (column % 7) * 5
    green = 40 + (column * 180) // side + ((row // 4 + column // 4) % 2) * 30
    blue = ((row * row + 3 * column * column) * 190) // (4 * side * side) + ((row * 13 + column * 29) % 31)
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)[:height, : width or height]


def draw(seed: int = 3) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", PUBLISHED)
def test_equals_the_authors_own_output(name: str) -> None:
    """At every severity of a square with an even side, and at one of a square with an odd one."""
    for key, expected in PUBLISHED[name].items():
        severity, side = map(int, key.split(" of "))
        made = corrupt(picture(side), name, severity, rng=np.random.RandomState(1000 + severity), parameters="imagenet")
        assert hashlib.sha256(made.tobytes()).hexdigest() == expected, key


def test_these_are_the_stored_set_s() -> None:
    assert sorted(PUBLISHED) == sorted(load_card("imagenet-c-bar").stored_corruptions)
    family = [name for name in CORRUPTIONS.names() if CORRUPTIONS.get(name).family == "c-bar"]
    assert family == sorted(PUBLISHED)
    suite = load_suite("imagenet-c-bar-online")
    assert (sorted(suite.corruptions), suite.jpeg_quality) == (family, 85)


@pytest.mark.parametrize("name", PUBLISHED)
def test_any_size_is_corrupted_alike_from_one_seed(name: str) -> None:
    """What is not square is cut from the square of its longer side; the image given stays as it is."""
    for height, width in ((40, 64), (70, 65)):
        clean = picture(height, width)
        before = clean.copy()
        first, second = (corrupt(clean, name, 5, rng=draw(), parameters="imagenet") for _ in range(2))
        assert (first.shape, first.dtype) == (clean.shape, np.uint8)
        assert np.array_equal(first, second)
        assert np.array_equal(clean, before)
        assert not np.array_equal(first, clean)
        assert not np.array_equal(first, corrupt(clean, name, 5, rng=draw(4), parameters="imagenet"))
        image = corrupt(Image.fromarray(clean), name, 5, rng=draw(), parameters="imagenet")
        assert np.array_equal(np.asarray(image), first)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_higher_severity_is_further_from_the_clean_image(name: str) -> None:
    clean = picture(64)
    errors = [
        float(((corrupt(clean, name, severity, rng=draw(), parameters="imagenet") - clean.astype(float)) ** 2).mean())
        for severity in SEVERITIES
    ]
    assert all(low < high for low, high in pairwise(errors)), errors


def test_small_images_have_the_five_of_cifar_10_c_bar() -> None:
    assert {name for name in PUBLISHED if not CORRUPTIONS.get(name).cifar} == WITHOUT_CIFAR
    assert set(PUBLISHED) - set(corruptions_for("cifar")) == WITHOUT_CIFAR
    with pytest.raises(UserError, match="perlin_noise has no severities for images of CIFAR's size: its authors chose"):
        corrupt(picture(32), "perlin_noise", 1, rng=draw())
    with pytest.raises(UnknownName, match="unknown corruption of fashion-mnist 'perlin_noise'"):
        open_dataset("fashion-mnist").check_conditions([Condition("perlin_noise", 1)])


def test_a_run_over_them_names_their_authors(tmp_path: Path) -> None:
    """In its caption and in what it cites, alone and beside ImageNet-C's."""
    alone, both = (
        apm_tta.run(
            "demo",
            methods="zeroshot",
            corruptions=corruptions,
            severities="5",
            limit=10,
            devices="cpu",
            workers=0,
            quiet=True,
            out=tmp_path / str(len(corruptions)),
        )
        for corruptions in ("sparkles", "sparkles,fog")
    )
    assert "severities as set by the authors of CIFAR-10-C-bar, on images of" in alone.report().text
    assert "severities as set by the authors of CIFAR-10-C and CIFAR-10-C-bar, on images of" in both.report().text
    cited = cite(alone.manifest)
    assert "mintun2021interaction" in cited
    assert "hendrycks2019benchmarking" not in cited
    assert all(key in cite(both.manifest) for key in ("mintun2021interaction", "hendrycks2019benchmarking"))
