"""Pictures as files, in whichever form a test needs."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from apm_tta.data.decoding import Reading
from apm_tta.data.layouts.images import read_image
from apm_tta.data.sample import ReadImage

Read = Callable[[bytes, Reading], ReadImage]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Return the function that reads the content of an image file by one of the two rules."""

    def read(content: bytes, reading: Reading) -> ReadImage:
        (tmp_path / "picture").write_bytes(content)
        return read_image(tmp_path / "picture", reading)

    return read


@pytest.fixture(scope="session")
def saved() -> Callable[..., bytes]:
    """Return the function that saves an image in a format."""

    def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    return saved


@pytest.fixture(scope="session")
def corners() -> Image.Image:
    """Make an image whose orientation can be seen: 48 x 32 pixels, a colour in each quarter."""
    values = np.zeros((32, 48, 3), np.uint8)
    values[:16, :24], values[:16, 24:], values[16:, :24], values[16:, 24:] = (250, 0, 0), (0, 250, 0), (0, 0, 250), 120
    return Image.fromarray(values)
