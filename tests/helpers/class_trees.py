"""Small trees of class folders, and what a check doubts of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from apm_tta.data.cards import load_card
from apm_tta.data.check import check

FOLDER = load_card("folder")


def picture(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(values).save(path)
    return path


def two_classes(root: Path) -> Path:
    """Make two classes of two images each below ``root``."""
    for number, path in enumerate(("ant/0.png", "ant/1.png", "bee/0.png", "bee/1.png")):
        picture(root / path, number)
    return root


def doubts(root: Path, deep: bool = False) -> list[str]:
    report = check(FOLDER, root, deep)
    assert report.passed, report.problems
    assert all("\n" not in doubt for doubt in report.doubts)
    last = "a run can use it; see above" if report.doubts else "everything is as expected"
    assert report.lines()[-1] == last
    return report.doubts
