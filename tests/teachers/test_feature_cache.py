from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from apm_tta.errors import UserError
from apm_tta.teachers import disk_cache
from apm_tta.teachers.feature_cache import FeatureCache

IDS = ("a/1.png", "a/2.png", "b/1.png")
PARTS: dict[str, Any] = {"weights_sha256": "0" * 64, "precision": "float32", "images": "1" * 64}
FEATURES = torch.arange(12.0).reshape(3, 4)


def filled(folder: Path) -> FeatureCache:
    """Fill a cache in batches that follow no order."""
    cache = FeatureCache(folder, PARTS, IDS)
    assert not cache.complete
    cache.write(IDS[2:], FEATURES[2:])
    cache.write(IDS[:2], FEATURES[:2])
    cache.finish()
    return cache


def read_if_complete(folder: Path, parts: dict[str, Any] = PARTS, ids: tuple[str, ...] = IDS) -> Tensor | None:
    found = FeatureCache(folder, parts, ids)
    return found.read(ids) if found.complete else None


def test_features_are_read_back_unchanged_in_any_order(tmp_path: Path) -> None:
    assert torch.equal(filled(tmp_path).read(IDS[::-1]), FEATURES.flip(0))
    again = FeatureCache(tmp_path, PARTS, IDS)
    assert again.complete
    assert torch.equal(again.read((IDS[1],)), FEATURES[1:2])


def test_nothing_can_be_read_before_every_image_is_written(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, PARTS, IDS)
    cache.write(IDS[:2], FEATURES[:2])
    cache.finish()
    assert read_if_complete(tmp_path) is None
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="not complete"):
        cache.read(IDS[:1])


def test_any_changed_part_of_the_key_never_matches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path)
    for name in PARTS:
        assert read_if_complete(tmp_path, {**PARTS, name: "another"}) is None
    assert read_if_complete(tmp_path, {**PARTS, "new": ""}) is None
    assert read_if_complete(tmp_path, ids=IDS[::-1]) is None
    assert read_if_complete(tmp_path, ids=IDS[:2]) is None
    assert read_if_complete(tmp_path, ids=(*IDS[:1], "a/2.png\nb/1.png")) is None
    assert read_if_complete(tmp_path) is not None
    monkeypatch.setattr(disk_cache, "_libraries", lambda: {"timm": "another"})
    assert read_if_complete(tmp_path) is None


def test_an_entry_under_another_keys_name_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If two keys had the same digest, the complete key would decide."""
    monkeypatch.setattr("apm_tta.teachers.feature_cache.entry_path", lambda folder, _, suffix: folder / f"one{suffix}")
    filled(tmp_path)
    assert read_if_complete(tmp_path) is not None
    assert read_if_complete(tmp_path, {**PARTS, "precision": "bfloat16"}) is None


@pytest.mark.parametrize("suffix", [".npy", ".json"])
@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "gone", "other"])
def test_a_damaged_file_counts_as_absent_and_is_rewritten(suffix: str, damage: str, tmp_path: Path) -> None:
    filled(tmp_path)
    (path,) = tmp_path.glob(f"*{suffix}")
    content = path.read_bytes()
    flipped = content[:-5] + bytes([content[-5] ^ 1]) + content[-4:]
    path.write_bytes({"cut": content[:-3], "flip": flipped, "other": b"[1]"}.get(damage, b""))
    if damage == "gone":
        path.unlink()
    assert read_if_complete(tmp_path) is None
    filled(tmp_path)
    found = read_if_complete(tmp_path)
    assert found is not None
    assert torch.equal(found, FEATURES)


@pytest.mark.parametrize("step", [1, 64])
@pytest.mark.filterwarnings("ignore")
def test_no_flipped_byte_goes_unnoticed_or_stops_a_run(step: int, tmp_path: Path) -> None:
    filled(tmp_path)
    for path in sorted(tmp_path.iterdir()):
        content = path.read_bytes()
        for index in range(len(content)):
            path.write_bytes(content[:index] + bytes([content[index] ^ step]) + content[index + 1 :])
            found = read_if_complete(tmp_path)
            assert found is None or torch.equal(found, FEATURES)
        path.write_bytes(content)


def test_a_folder_that_is_not_writable_raises_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = filled(tmp_path / "file" / "features")
    assert not cache.complete


def test_features_are_mapped_from_disk_and_not_kept_in_memory(tmp_path: Path) -> None:
    filled(tmp_path)
    cache = FeatureCache(tmp_path, PARTS, IDS)
    assert isinstance(cache._array, np.memmap)


def test_features_that_were_checked_do_not_change_with_their_file(tmp_path: Path) -> None:
    filled(tmp_path)
    cache = FeatureCache(tmp_path, PARTS, IDS)
    assert cache.complete
    first = cache.read(IDS)
    (path,) = tmp_path.glob("*.npy")
    content = bytearray(path.read_bytes())
    content[-4:] = b"\0\0\0\1"
    with path.open("r+b") as file:
        file.write(content)
    assert torch.equal(first, FEATURES)
    assert torch.equal(cache.read(IDS[:2]), FEATURES[:2])
    with pytest.raises(UserError, match="was written to while it was in use; start again"):
        cache.read(IDS)
    assert read_if_complete(tmp_path) is None
