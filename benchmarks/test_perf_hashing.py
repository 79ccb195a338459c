"""The wait before the first answer: hashing every image, and finding that none has changed."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from apm_tta.data.cards import load_card
from apm_tta.data.dataset import Dataset
from apm_tta.data.sample import CLEAN
from apm_tta.harness.compute.content import hash_content, images_to_hash

FILES, BYTES = 5_000, 110_000
FULL = 50_000
FIRST_S, SECOND_S = 15.0, 2.0
"""Of ``FULL`` files: seconds of CPU from the page cache, and seconds where nothing has changed."""


def test_hashing_a_validation_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APM_TTA_CACHE", str(tmp_path / "cache"))
    pixels = np.random.default_rng(0).integers(0, 256, BYTES, dtype=np.uint8).tobytes()
    for number in range(FILES):
        path = tmp_path / "set" / f"class {number % 50}" / f"{number}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pixels + str(number).encode())
    time.sleep(2.1)  # until the files are old enough for the index
    dataset = Dataset(load_card("folder"), tmp_path / "set")
    ids, images = images_to_hash(dataset, [CLEAN])

    started = time.process_time()
    first = hash_content(dataset, ids, images)
    first_s = (time.process_time() - started) * FULL / FILES
    started = time.perf_counter()
    second = hash_content(dataset, ids, images)
    second_s = (time.perf_counter() - started) * FULL / FILES
    print(f"{FULL:,} files of {BYTES:,} bytes: {first_s:.1f} s of CPU, then {second_s:.2f} s")
    assert first == second
    assert first_s < FIRST_S
    assert second_s < SECOND_S
