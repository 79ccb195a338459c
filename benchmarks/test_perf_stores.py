"""Loading photographs from shards, compared with loading them from the tree."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apm_tta.data.cards import load_card
from apm_tta.data.dataset import Dataset
from apm_tta.data.pack import pack
from apm_tta.data.sample import CLEAN

IMAGES, PASSES = 200, 5
MOST = 1.05
"""Time of a pass over the shards in that of a pass over the tree."""


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Dataset]:
    """Make JPEGs of ImageNet's usual size in one folder per class, and pack them."""
    root, rng = tmp_path_factory.mktemp("forms"), np.random.default_rng(0)
    for number in range(IMAGES):
        coarse = Image.fromarray(rng.integers(0, 256, (94, 125, 3), dtype=np.uint8)).resize((500, 375))
        path = root / "tree" / f"class {number % 20:02d}" / f"{number:04d}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse.save(path, "JPEG", quality=92)
    card = load_card("folder")
    pack(Dataset(card, root / "tree"), root / "shards")
    found = {name: Dataset(card, root / name) for name in ("tree", "shards")}
    assert found["tree"].entries(CLEAN) == found["shards"].entries(CLEAN)
    return found


def seconds(read: Callable[[], object]) -> float:
    started = time.perf_counter()
    read()
    return time.perf_counter() - started


def test_loading_from_shards_takes_no_longer_than_from_the_tree(forms: dict[str, Dataset], tmp_path: Path) -> None:
    def read_all(dataset: Dataset) -> None:
        for entry in dataset.entries(CLEAN):
            dataset.read(entry, CLEAN)

    for dataset in forms.values():  # the files are in memory from here on, and the index is open
        read_all(dataset)
    ratios = []
    for turn in range(PASSES):
        order = ["tree", "shards"] if turn % 2 else ["shards", "tree"]
        took = {name: seconds(lambda name=name: read_all(forms[name])) for name in order}  # type: ignore[misc]
        ratios.append(took["shards"] / took["tree"])
    median = statistics.median(ratios)
    print(f"\nshards / tree, {PASSES} interleaved passes of {IMAGES} images: median {median:.3f}, all {sorted(ratios)}")
    assert median < MOST
