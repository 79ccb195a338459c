"""Images are hashed as they are stored, once, and again where their files changed."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from apm_tta.data import digest_index, image_digests
from apm_tta.data.cards import load_card
from apm_tta.data.dataset import ChangedImage, Dataset
from apm_tta.data.hash_images import hash_images
from apm_tta.data.image_digests import UNREADABLE, ImageDigests, ids_to_hash, parse_digests
from apm_tta.data.layouts import Layout
from apm_tta.data.layouts.any_folder import FolderLayout
from apm_tta.data.sample import CLEAN, StoredImage

names = st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(["a/0.bmp", "a/1.bmp", "b/0.bmp", "b/1.bmp"]):
        (tmp_path / "set" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (40 * number, 9, 9)).save(tmp_path / "set" / name)
        _age(tmp_path / "set" / name)
    return tmp_path / "set"


def _age(path: Path) -> None:
    os.utime(path, (1_600_000_000, 1_600_000_000))


def _dataset(folder: Path) -> Dataset:
    return Dataset(load_card("folder"), folder)


def _hashed(folder: Path, cache: Path | None = None) -> ImageDigests:
    dataset = _dataset(folder)
    ids = [entry.id for entry in dataset.entries(CLEAN)]
    return hash_images(dataset.layout, ids, len(ids), cache)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """List the images whose bytes are read."""
    done: list[str] = []
    plain = FolderLayout.stored

    def stored(layout: Layout[Any], sample_id: str) -> StoredImage:
        done.append(sample_id)
        return plain(layout, sample_id)  # type: ignore[arg-type]

    monkeypatch.setattr(FolderLayout, "stored", stored)
    return done


@given(st.dictionaries(names, st.binary(min_size=32, max_size=32).map(bytes.hex), max_size=4))
def test_the_list_is_read_back_whatever_the_names(by_id: dict[str, str]) -> None:
    """Newlines, backslashes and lone surrogates (names that are not UTF-8) included."""
    digests = ImageDigests(by_id, len(by_id))
    assert parse_digests(digests.content, len(by_id)) == digests


def test_sha256sum_checks_the_list(folder: Path) -> None:
    """With names that it escapes."""
    (folder / "a" / "0.bmp").rename(folder / "a" / "new\nline \\.bmp")
    (folder.parent / "list").write_bytes(_hashed(folder).content)
    done = subprocess.run(["sha256sum", "--check", "--strict", "../list"], cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stdout.count(": OK")) == (0, 4), done.stdout + done.stderr


def test_digests_are_of_the_files_whoever_computes_them(folder: Path, tmp_path: Path) -> None:
    expected = {f"{path.parent.name}/{path.name}": _digest(path) for path in folder.rglob("*.bmp")}
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        assert _hashed(folder, cache).by_id == expected


def test_an_image_that_cannot_be_read_has_no_digest(folder: Path) -> None:
    dataset = _dataset(folder)
    dataset.entries(CLEAN)
    (folder / "a" / "0.bmp").unlink()
    digests = hash_images(dataset.layout, ["a/0.bmp", "a/1.bmp"], 2)
    assert digests.by_id == {"a/0.bmp": UNREADABLE, "a/1.bmp": _digest(folder / "a" / "1.bmp")}
    Image.new("RGB", (8, 8)).save(folder / "a" / "0.bmp")
    dataset.expect(digests)
    entry = dataset.entries(CLEAN)[0]
    assert dataset.read(entry, CLEAN).sha256 == _digest(folder / "a" / "0.bmp"), "it is tried again"
    Image.new("RGB", (8, 8), "red").save(folder / "a" / "0.bmp")
    with pytest.raises(ChangedImage, match=r"a/0\.bmp is not what it was"):
        dataset.read(entry, CLEAN)


@pytest.fixture
def soon_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust files that changed just now, as those of a test have."""
    monkeypatch.setattr(digest_index, "UNTRUSTED_NS", 0)


@pytest.mark.usefixtures("soon_trusted")
def test_a_second_time_only_changed_files_are_read(folder: Path, tmp_path: Path, reads: list[str]) -> None:
    """By size, times or inode; the time of change cannot be set back, so a copy with the old time is read too."""
    _hashed(folder, tmp_path)
    assert sorted(reads) == ["a/0.bmp", "a/1.bmp", "b/0.bmp", "b/1.bmp"]
    reads.clear()
    _hashed(folder, tmp_path)
    assert reads == []

    changed = (folder / "b" / "0.bmp").read_bytes()[:-3] + b"\x01\x02\x03"
    (folder / "b" / "0.bmp").write_bytes(changed)
    _age(folder / "b" / "0.bmp")
    (folder / "copy").write_bytes((folder / "a" / "1.bmp").read_bytes())
    (folder / "copy").replace(folder / "a" / "1.bmp")
    assert _hashed(folder, tmp_path).by_id["b/0.bmp"] == hashlib.sha256(changed).hexdigest()
    assert sorted(reads) == ["a/1.bmp", "b/0.bmp"]


def test_a_file_that_changed_just_now_is_read_again(folder: Path, tmp_path: Path, reads: list[str]) -> None:
    """Within the clock's tick it could change once more under the same times."""
    for _ in range(2):
        (folder / "a" / "0.bmp").touch()
        reads.clear()
        _hashed(folder, tmp_path)
        assert "a/0.bmp" in reads


@pytest.mark.usefixtures("soon_trusted")
@pytest.mark.parametrize("damage", [b"", b"x", b"0" * 64 + b"\n{}"])
def test_a_damaged_index_counts_as_none(folder: Path, tmp_path: Path, damage: bytes) -> None:
    expected = _hashed(folder, tmp_path)
    (index,) = tmp_path.glob("*.json")
    content = index.read_bytes()
    index.write_bytes(damage or content.replace(expected.by_id["a/0.bmp"].encode(), b"0" * 64))
    assert _hashed(folder, tmp_path) == expected


def test_another_content_is_refused_as_it_is_read(folder: Path) -> None:
    dataset = _dataset(folder)
    dataset.expect(_hashed(folder))
    entry = dataset.entries(CLEAN)[1]
    expected = dataset.read(entry, CLEAN)
    assert expected.sha256 == _digest(folder / "a" / "1.bmp")
    (folder / "a" / "1.bmp").write_bytes(b"no image any more")
    with pytest.raises(ChangedImage, match=r"a/1\.bmp is not what it was when this run began"):
        dataset.read(entry, CLEAN)


def test_of_a_large_set_the_ids_of_lowest_digest_are_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same ones in every part, whatever the order of the files."""
    monkeypatch.setattr(image_digests, "MOST_HASHED", 10)
    monkeypatch.setattr(image_digests, "SAMPLE", 3)
    ids = [f"{number}.png" for number in range(11)]
    chosen, images = ids_to_hash([*ids, *ids])
    assert images == 11
    assert chosen == sorted(ids, key=lambda each: hashlib.sha256(each.encode()).hexdigest())[:3]
    assert ids_to_hash(reversed(ids))[0] == chosen
    assert ids_to_hash(ids[:10]) == (ids[:10], 10)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
