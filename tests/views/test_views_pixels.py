"""Pixels of given views: Pillow's bytes, on a CPU by Pillow itself and elsewhere by its arithmetic."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torchvision.transforms import RandomHorizontalFlip, RandomResizedCrop

from apm_tta.views import ViewSpec, draw_views, make_views
from apm_tta.views.draws import CROP_COLUMNS, OPERATIONS
from apm_tta.views.on_device import views_of_images
from apm_tta.views.operations import operate
from apm_tta.views.resampling import FILTERS, resize_crops
from apm_tta.views.with_pillow import _operate

ROUNDED_OTHERWISE = 0 if int(PIL.__version__.partition(".")[0]) >= 13 else 1
"""Levels by which the authors' crops may differ."""
PILLOW = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def resized(image: np.ndarray, box: tuple[int, int, int, int], size: int, interpolation: str) -> np.ndarray:
    top, left, height, width = box
    crop = Image.fromarray(image).crop((left, top, left + width, top + height))
    return np.asarray(crop.resize((size, size), PILLOW[interpolation])).transpose(2, 0, 1)


@given(
    sizes=st.lists(st.tuples(st.integers(1, 70), st.integers(1, 70)), min_size=1, max_size=4),
    size=st.integers(1, 40),
    interpolation=st.sampled_from(sorted(PILLOW)),
    data=st.data(),
)
def test_crops_of_any_sizes_are_pillows_to_the_byte(
    sizes: list[tuple[int, int]], size: int, interpolation: str, data: st.DataObject
) -> None:
    """Enlarged and made smaller, to and from single pixels, each in its own image, all together."""
    images = [noise(*each, seed) for seed, each in enumerate(sizes)]
    boxes = []
    for height, width in sizes:
        top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
        boxes.append((top, left, data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left))))
    pixels = torch.cat([torch.from_numpy(image).view(-1, 3) for image in images])
    counts = torch.tensor([height * width for height, width in sizes])
    widths = torch.tensor([width for _, width in sizes])
    found = resize_crops(pixels, counts.cumsum(0) - counts, widths, torch.tensor(boxes), size, FILTERS[interpolation])
    for one, image, box in zip(found, images, boxes, strict=True):
        assert np.array_equal(one.numpy(), resized(image, box, size, interpolation))


@pytest.mark.parametrize("interpolation", sorted(PILLOW))
@pytest.mark.parametrize("shape", [(3000, 4000), (4000, 3000), (28, 1792), (1792, 28)])
def test_large_photographs_and_long_ones(shape: tuple[int, int], interpolation: str) -> None:
    """Twelve megapixels, and one to eight times as large as a view either way."""
    image = noise(*shape)
    box = (0, 0, *shape)
    found = resize_crops(
        torch.from_numpy(image).view(-1, 3),
        torch.tensor([0]),
        torch.tensor([shape[1]]),
        torch.tensor([box]),
        224,
        FILTERS[interpolation],
    )
    assert np.array_equal(found[0].numpy(), resized(image, box, 224, interpolation))


@pytest.mark.parametrize("crop", ["resized", "padded"])
@pytest.mark.parametrize("augmix", [False, True])
@pytest.mark.parametrize("size", [24, 64])
def test_views_on_a_device_are_those_on_a_cpu(crop: str, augmix: bool, size: int) -> None:
    """All of them, operations and mixtures included: no value differs."""
    images = [torch.from_numpy(noise(*shape)) for shape in ((60, 80), (33, 40), (90, 31), (1, 7), (24, 24))]
    spec = ViewSpec(40, augmix=augmix, crop=crop, fill=(128, 0, 0))  # type: ignore[arg-type]
    draws = torch.stack([draw_views(spec, 3, str(n), tuple(each.shape[1::-1]), size) for n, each in enumerate(images)])  # type: ignore[arg-type]
    on_cpu = make_views(spec, size, images, draws)
    assert on_cpu.shape == (5, 39, 3, size, size)
    assert torch.equal(views_of_images(spec, size, images, draws), on_cpu)
    alone = make_views(spec, size, images[1:2], draws[1:2])
    assert torch.equal(alone[0], on_cpu[1])


@given(operation=st.sampled_from(OPERATIONS), seed=st.integers(0, 50), flat=st.booleans(), data=st.data())
def test_operations_are_pillows(operation: str, seed: int, flat: bool, data: st.DataObject) -> None:
    """Of noise, and of images with few levels, on which tables of levels go astray."""
    image = noise(20, 20, seed) // (64 if flat else 1) * (64 if flat else 1)
    ranges = {"posterize": (1, 8), "solarize": (0, 256), "rotate": (-30, 30), "shear_x": (-3, 3), "shear_y": (-3, 3)}
    low, high = ranges.get(operation, (-25, 25))
    whole = data.draw(st.integers(low, high))
    value = whole / 10 if operation.startswith("shear") else float(whole)
    fill = (128, 3, 77)
    expected = _operate(ViewSpec(fill=fill), Image.fromarray(image), operation, value)
    found = operate(operation, torch.from_numpy(image).permute(2, 0, 1)[None].clone(), [value], fill)
    assert np.array_equal(found[0].numpy(), np.asarray(expected).transpose(2, 0, 1))


def affine(*matrix: float) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


@pytest.mark.parametrize(
    ("operation", "value", "pillows"),
    [
        ("rotate", -2.0, lambda image: image.rotate(-2, Image.Resampling.BILINEAR)),
        ("rotate", 0.0, lambda image: image.rotate(0, Image.Resampling.BILINEAR)),
        ("autocontrast", 0.0, ImageOps.autocontrast),
        ("equalize", 0.0, ImageOps.equalize),
        ("posterize", 4.0, lambda image: ImageOps.posterize(image, 4)),
        ("solarize", 240.0, lambda image: ImageOps.solarize(image, 240)),
        ("shear_x", 0.02, affine(1, 0.02, 0, 0, 1, 0)),
        ("shear_y", -0.03, affine(1, 0, 0, -0.03, 1, 0)),
        ("translate_x", 5.0, affine(1, 0, 5, 0, 1, 0)),
        ("translate_y", -7.0, affine(1, 0, 0, 0, 1, -7)),
    ],
)
def test_operations_are_what_the_authors_call(operation: str, value: float, pillows: object) -> None:
    image = Image.fromarray(noise(32, 32))
    found = _operate(ViewSpec(), image, operation, value)
    assert np.array_equal(np.asarray(found), np.asarray(pillows(image)))  # type: ignore[operator]


def test_no_views_are_none() -> None:
    spec = ViewSpec(1)
    draws = draw_views(spec, 0, "a", (9, 8), 4)[None]
    assert make_views(spec, 4, [torch.from_numpy(noise(8, 9))], draws).shape == (1, 0, 3, 4, 4)


@pytest.mark.vectors("method_vectors/views_[0-9]*.npz")
def test_the_authors_crops_are_ours_to_the_byte(vector_file: Path) -> None:
    """Their crops of one image under torch's seeds: with the boxes that torchvision draws, every byte.

    The authors' crops were made by Pillow 13. Earlier versions round some values to the next level: ours do with them.
    """
    with np.load(vector_file, allow_pickle=False) as file:
        image, expected, meta = file["image"], file["crops"], json.loads(str(file["meta"]))
    scale, aspects = (0.08, 1.0), (3 / 4, 4 / 3)
    rows = []
    for seed in meta["torch_seeds"]:
        torch.manual_seed(seed)
        box = RandomResizedCrop.get_params(Image.fromarray(image), scale, aspects)
        flip = bool(torch.rand(1) < RandomHorizontalFlip().p)
        rows.append([*box, float(flip)])
    draws = torch.tensor(rows, dtype=torch.float64)[None]
    assert draws.shape[2] == CROP_COLUMNS
    pixels = [torch.from_numpy(image)]
    for found in (make_views(ViewSpec(), 224, pixels, draws), views_of_images(ViewSpec(), 224, pixels, draws)):
        differences = np.abs(found[0].permute(0, 2, 3, 1).numpy().astype(int) - expected)
        assert differences.max() <= ROUNDED_OTHERWISE
