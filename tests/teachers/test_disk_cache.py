"""Entries on disk are read back unchanged or not at all, whatever is written at the same time."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import torch
from torch import Tensor

from apm_tta.teachers import default_cache
from apm_tta.teachers.disk_cache import JsonCache, TensorCache


def test_values_of_another_shape_are_damaged(tmp_path: Path) -> None:
    cache, value = TensorCache(tmp_path), torch.arange(6.0).reshape(2, 3)
    cache.write({"a": 1}, value)
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    assert b'"shape":[2,3]' in content
    path.write_bytes(content.replace(b'"shape":[2,3]', b'"shape":[3,2]'))
    assert cache.read({"a": 1}) is None


@pytest.mark.parametrize("step", [1, 64])
def test_no_flipped_byte_goes_unnoticed_or_stops_a_run(step: int, tmp_path: Path) -> None:
    tensors, mappings, value = TensorCache(tmp_path), JsonCache(tmp_path), torch.arange(6.0)
    tensors.write({"a": 1}, value)
    mappings.write({"a": 1}, {"feature_dim": 512})
    for path in sorted(tmp_path.iterdir()):
        content = path.read_bytes()
        for index in range(0, len(content), 3):
            path.write_bytes(content[:index] + bytes([content[index] ^ step]) + content[index + 1 :])
            tensor, mapping = tensors.read({"a": 1}), mappings.read({"a": 1})
            assert tensor is None or torch.equal(tensor, value)
            assert mapping in (None, {"feature_dim": 512})
        path.write_bytes(content)


def _write_entries(folder: Path) -> None:
    for _ in range(20):
        TensorCache(folder).write({"key": 1}, torch.ones(1000, 10))
        JsonCache(folder).write({"key": 1}, {"value": 1})


def test_processes_that_write_the_same_entry_at_once_leave_it_intact(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn")
    processes = [context.Process(target=_write_entries, args=(tmp_path,)) for _ in range(3)]
    for process in processes:
        process.start()
    seen: list[Tensor] = []
    while any(process.is_alive() for process in processes):
        found = TensorCache(tmp_path).read({"key": 1})
        assert found is not None or not seen, "an entry that existed has disappeared"
        if found is not None:
            seen.append(found)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    found = TensorCache(tmp_path).read({"key": 1})
    assert found is not None
    assert torch.equal(found, torch.ones(1000, 10))
    assert JsonCache(tmp_path).read({"key": 1}) == {"value": 1}
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".safetensors"]


def test_the_caches_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("APM_TTA_CACHE", str(tmp_path / "own"))
    assert default_cache() == tmp_path / "own"
    monkeypatch.delenv("APM_TTA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "apm-tta"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == Path.home() / ".cache" / "apm-tta"
