"""One label of an image that keeps its name and its pixels: labels that stand in a file of their own."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from identity import check_accepted, check_refused, run_before

WORDS = (
    *("cifar10.1", "--data-root", "{place}", "--teacher", "embedded", "--device", "cpu", "--methods", "zeroshot"),
    *("--limit", "20", "--shard-size", "5"),
)
LABELS = "cifar10.1_v6_labels.npy"


def test_one_label(tmp_path: Path) -> None:
    """Exchange it with its neighbour's, since a class has a known number of images."""
    place = tmp_path / "place"
    place.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (2000, 32, 32, 3), dtype=np.uint8)
    np.save(place / "cifar10.1_v6_data.npy", pixels)
    np.save(place / LABELS, np.arange(2000, dtype=np.int32) % 10)
    begun = run_before(place, WORDS, tmp_path / "before")
    check_accepted(begun, shutil.copytree(place, tmp_path / "twin" / "place"), WORDS, tmp_path / "twin")

    changed = shutil.copytree(place, tmp_path / "changed" / "place")
    labels = np.load(changed / LABELS)
    chosen = next(line.split()[1] for line in (begun.whole / "images.sha256").read_text().splitlines())
    index = int(chosen.rpartition("/")[2])
    labels[[index, (index + 1) % 2000]] = labels[[(index + 1) % 2000, index]]
    np.save(changed / LABELS, labels)
    check_refused(begun, changed, WORDS, r"label|fingerprint", tmp_path / "changed")
