"""Idx files are read completely or refused by name."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apm_tta.data.fashion_mnist import load_split, read_idx
from apm_tta.errors import UserError


def idx(array: np.ndarray, kind: int = 8) -> bytes:
    """Encode a uint8 array as idx, following the description at yann.lecun.com/exdb/mnist."""
    return bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}i", *array.shape) + array.tobytes()


IMAGES = np.arange(5 * 28 * 28).reshape(5, 28, 28).astype(np.uint8)
WHOLE = idx(IMAGES)
PACKED = gzip.compress(WHOLE, mtime=0)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_reads_back_what_was_written(tmp_path_factory: pytest.TempPathFactory, shape: list[int], seed: int) -> None:
    """Any shape works, from one axis (labels) to four."""
    array = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path_factory.getbasetemp() / "any-idx.gz"
    path.write_bytes(gzip.compress(idx(array)))
    read = read_idx(path)
    assert read.dtype == np.uint8
    assert np.array_equal(read, array)


@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param(WHOLE, id="not-gzip"),
        pytest.param(b"", id="empty"),
        pytest.param(b"<!DOCTYPE html><title>404</title>", id="web-page"),
        pytest.param(PACKED[: len(PACKED) // 2], id="cut-short"),
        pytest.param(PACKED[:-1], id="last-byte-missing"),
        pytest.param(PACKED[:-8] + bytes(8), id="checksum-wrong"),
        pytest.param(gzip.compress(WHOLE[:-1]), id="a-value-missing-inside"),
        pytest.param(gzip.compress(WHOLE + b"\0"), id="a-value-too-many-inside"),
        pytest.param(gzip.compress(WHOLE[:10]), id="sizes-missing-inside"),
        pytest.param(gzip.compress(b"\0\0\x08"), id="three-bytes-inside"),
        pytest.param(gzip.compress(b""), id="nothing-inside"),
        pytest.param(gzip.compress(idx(IMAGES, kind=0x0D)), id="float32"),
        pytest.param(gzip.compress(b"\x89PNG" + WHOLE), id="something-else-inside"),
        pytest.param(
            PACKED[:10] + b"\x07" + PACKED[11:],
            id="invalid-deflate-block",
        ),
        pytest.param(
            gzip.compress(b"\0\0\x08\x02" + struct.pack(">2i", -2, -2) + b"abcd"),
            id="negative-sizes",
        ),
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, damaged: bytes) -> None:
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(damaged)
    with pytest.raises(UserError, match="download it again") as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named_with_where_to_get_it(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.gz"
    with pytest.raises(UserError, match=r"is missing.*dataset-fashion-mnist") as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def write_split(folder: Path, prefix: str, images: np.ndarray, labels: np.ndarray) -> None:
    (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
    (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))


def test_test_and_train_are_not_mixed_up(tmp_path: Path) -> None:
    """``t10k`` is the test split; the teacher's training set must not be what is measured."""
    write_split(tmp_path, "train", IMAGES, np.arange(5, dtype=np.uint8))
    write_split(tmp_path, "t10k", IMAGES[::-1], np.arange(5, 10, dtype=np.uint8))
    images, labels = load_split(tmp_path, "test")
    assert np.array_equal(images, IMAGES[::-1])
    assert labels.tolist() == [5, 6, 7, 8, 9]
    assert load_split(tmp_path, "train")[1].tolist() == [0, 1, 2, 3, 4]


def test_images_and_labels_of_different_number_are_refused(tmp_path: Path) -> None:
    write_split(tmp_path, "t10k", IMAGES, np.arange(4, dtype=np.uint8))
    with pytest.raises(UserError, match="5 test images but 4 labels") as caught:
        load_split(tmp_path, "test")
    assert str(tmp_path) in str(caught.value)
