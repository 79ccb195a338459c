from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from apm_tta.teachers import disk_cache
from apm_tta.teachers.feature_cache import FeatureCache

IDS = ("a/1.png", "a/2.png", "b/1.png")
PARTS: dict[str, Any] = {"weights_sha256": "0" * 64, "precision": "float32", "images": "1" * 64}
FEATURES = torch.arange(12.0).reshape(3, 4)


def filled(folder: Path) -> FeatureCache:
    """Taken in by batches that follow no order."""
    kept = FeatureCache(folder, PARTS, IDS)
    assert not kept.complete
    kept.write(IDS[2:], FEATURES[2:])
    kept.write(IDS[:2], FEATURES[:2])
    kept.finish()
    return kept


def there(folder: Path, parts: dict[str, Any] = PARTS, ids: tuple[str, ...] = IDS) -> Tensor | None:
    found = FeatureCache(folder, parts, ids)
    return found.read(ids) if found.complete else None


def test_features_come_back_as_they_were_in_any_order(tmp_path: Path) -> None:
    assert torch.equal(filled(tmp_path).read(IDS[::-1]), FEATURES.flip(0))
    again = FeatureCache(tmp_path, PARTS, IDS)
    assert again.complete
    assert torch.equal(again.read((IDS[1],)), FEATURES[1:2])


def test_nothing_is_there_before_every_image_is(tmp_path: Path) -> None:
    kept = FeatureCache(tmp_path, PARTS, IDS)
    kept.write(IDS[:2], FEATURES[:2])
    kept.finish()
    assert there(tmp_path) is None
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="not complete"):
        kept.read(IDS[:1])


def test_any_changed_part_of_the_key_never_matches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path)
    for name in PARTS:
        assert there(tmp_path, {**PARTS, name: "another"}) is None
    assert there(tmp_path, {**PARTS, "new": ""}) is None
    assert there(tmp_path, ids=IDS[::-1]) is None
    assert there(tmp_path, ids=IDS[:2]) is None
    assert there(tmp_path, ids=(*IDS[:1], "a/2.png\nb/1.png")) is None
    assert there(tmp_path) is not None
    monkeypatch.setattr(disk_cache, "_libraries", lambda: {"timm": "another"})
    assert there(tmp_path) is None


def test_an_entry_under_another_keys_name_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if two keys had one digest: the whole key decides."""
    monkeypatch.setattr("apm_tta.teachers.feature_cache.entry_path", lambda folder, _, suffix: folder / f"one{suffix}")
    filled(tmp_path)
    assert there(tmp_path) is not None
    assert there(tmp_path, {**PARTS, "precision": "bfloat16"}) is None


@pytest.mark.parametrize("suffix", [".npy", ".json"])
@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "gone", "other"])
def test_a_damaged_file_counts_as_absent_and_is_written_again(suffix: str, damage: str, tmp_path: Path) -> None:
    filled(tmp_path)
    (path,) = tmp_path.glob(f"*{suffix}")
    content = path.read_bytes()
    flipped = content[:-5] + bytes([content[-5] ^ 1]) + content[-4:]
    path.write_bytes({"cut": content[:-3], "flip": flipped, "other": b"[1]"}.get(damage, b""))
    if damage == "gone":
        path.unlink()
    assert there(tmp_path) is None
    filled(tmp_path)
    found = there(tmp_path)
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
            found = there(tmp_path)
            assert found is None or torch.equal(found, FEATURES)
        path.write_bytes(content)


def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    kept = filled(tmp_path / "file" / "features")
    assert not kept.complete


def test_features_are_read_from_the_disk_and_not_held(tmp_path: Path) -> None:
    filled(tmp_path)
    kept = FeatureCache(tmp_path, PARTS, IDS)
    assert isinstance(kept._array, np.memmap)
