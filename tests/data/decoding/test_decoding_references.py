"""The two ways of reading agree with programs that others wrote: torchvision's loader, and OpenCV's viewer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from torchvision.datasets.folder import pil_loader

from apm_tta.data.decoding import PUBLISHED, VIEWER
from apm_tta.data.layouts.images import read_image

PICTURE = Image.fromarray(np.random.default_rng(2).integers(0, 256, (24, 40, 4), dtype=np.uint8))
DEEP = Image.fromarray(np.random.default_rng(3).integers(0, 65_536, (24, 40), dtype=np.uint16))


def tagged(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


FILES: dict[str, tuple[Image.Image, dict[str, Any]]] = {
    "a.png": (PICTURE, {}),
    "b.png": (PICTURE.convert("LA"), {}),
    "c.png": (PICTURE.convert("RGB").quantize(16), {}),
    "d.png": (DEEP, {}),
    "e.png": (PICTURE.convert("RGB"), {"exif": tagged(6)}),
    "f.jpg": (PICTURE.convert("RGB"), {"exif": tagged(3), "quality": 90}),
    "g.jpg": (PICTURE.convert("CMYK"), {}),
    "h.jpg": (PICTURE.convert("L"), {}),
    "i.tif": (PICTURE, {}),
    "j.tif": (DEEP, {}),
    "k.tif": (PICTURE.convert("CMYK"), {}),
    "l.webp": (PICTURE, {"lossless": True}),
    "m.gif": (PICTURE.convert("RGB"), {}),
    "n.bmp": (PICTURE.convert("RGB"), {}),
    "o.ppm": (PICTURE.convert("RGB"), {}),
    "p.png": (PICTURE.convert("1"), {}),
}


@pytest.mark.parametrize("name", FILES)
def test_a_published_file_is_read_as_torchvision_reads_it(name: str, tmp_path: Path) -> None:
    image, options = FILES[name]
    image.save(tmp_path / name, **options)
    found = read_image(tmp_path / name, PUBLISHED).image
    assert np.array_equal(np.asarray(found), np.asarray(pil_loader(tmp_path / name)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_of_ones_own_is_turned_as_opencv_turns_it(orientation: int, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    PICTURE.convert("RGB").resize((90, 60)).save(path, exif=tagged(orientation), quality=95, subsampling=0)
    shown = np.asarray(read_image(path, VIEWER).image, int)
    reference = cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB).astype(int)
    assert shown.shape == reference.shape == ((60, 90, 3) if orientation < 5 else (90, 60, 3))
    assert np.abs(shown - reference).mean() < 1


@pytest.mark.parametrize("name", ["d.png", "j.tif"])
def test_deep_levels_are_scaled_as_opencv_scales_them(name: str, tmp_path: Path) -> None:
    DEEP.save(tmp_path / name)
    shown = np.asarray(read_image(tmp_path / name, VIEWER).image, int)[..., 0]
    assert np.abs(shown - cv2.imread(str(tmp_path / name), cv2.IMREAD_GRAYSCALE).astype(int)).max() <= 1
