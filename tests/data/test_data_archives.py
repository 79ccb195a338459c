"""Archives read as if they were unpacked where they lie: what is listed and read is the tree's."""

from __future__ import annotations

import io
import os
import sqlite3
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from fuzz import fuzzed
from hypothesis import given
from hypothesis import strategies as st

from apm_tta.data.archives import archive_at
from apm_tta.data.files import is_file, is_folder, list_folder, looking_into, read_whole, scan_folder, stamp_of, walk
from apm_tta.data.image_files import MissingImage
from apm_tta.errors import UserError
from apm_tta.system.cache_folder import default_cache

Tree = dict[str, bytes]
FORMS = ("a.tar", "a.tar.gz", "a.TGZ", "a.zip", "stored.zip")


def add(tar: tarfile.TarFile, name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, len(content)
    tar.addfile(member, io.BytesIO(content))


def pack(path: Path, tree: Tree) -> Path:
    """Write an archive of the form that its name states."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zip":
        method = zipfile.ZIP_STORED if path.stem == "stored" else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(path, "w", method) as packed:
            for name, content in tree.items():
                packed.writestr(name, content)
        return path
    with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz") as tar:
        for name, content in tree.items():
            add(tar, name, content)
    return path


def unpack(folder: Path, tree: Tree) -> Path:
    for name, content in tree.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return folder


def everything(root: Path) -> Iterator[object]:
    """Return all that can be asked of what lies below a folder."""
    for folder, folders, files in walk(root):
        folders.sort()
        place = Path(folder)
        inner = place.relative_to(root).as_posix()
        yield inner, folders, sorted(files), list_folder(place), scan_folder(place), is_folder(place), is_file(place)
        for name in sorted(files):
            content = read_whole(place / name)
            yield inner, name, content, read_whole(place / name, 1) if content else b""
            yield read_whole(place / name, len(content) // 2, len(content) // 3), is_file(place / name)
            yield is_folder(place / name), is_file(place / name / "below"), stamp_of(place / name)[0]


NAMES = st.text(st.sampled_from("ab.é _-"), min_size=1, max_size=130).filter(lambda name: name.strip(".") != "")
SHORT = st.text(st.sampled_from("abcé._"), min_size=1, max_size=3).filter(lambda name: name.strip(".") != "")


@st.composite
def small_trees(draw: st.DrawFn) -> Tree:
    """Draw up to eight files, of which none has the path of another's folder."""
    tree: Tree = {}
    for _ in range(draw(st.integers(1, 8))):
        parts = [*draw(st.lists(SHORT, max_size=3)), draw(st.one_of(SHORT, NAMES))]
        path = "/".join(["top", *parts])
        above = {"/".join(path.split("/")[:number]) for number in range(1, len(parts) + 1)}
        if above & set(tree) or any(other.startswith(f"{path}/") for other in tree) or path in tree:
            continue
        tree[path] = draw(st.binary(max_size=2000))
    return tree


@fuzzed(60)
@given(small_trees(), st.sampled_from(FORMS))
def test_an_archive_lists_and_reads_as_its_tree(tree: Tree, form: str) -> None:
    with TemporaryDirectory() as made:
        unpacked = list(everything(unpack(Path(made, "tree"), tree) / "top"))
        lying = pack(Path(made, "lies", form), tree)
        assert list(everything(lying.parent / "top")) == unpacked
        assert list(everything(lying / "top")) == unpacked  # through the archive's own path
        assert list_folder(lying.parent) == (["top"], [form], [])


def test_several_archives_are_one_tree(tmp_path: Path) -> None:
    pack(tmp_path / "noise.tar", {"shot/1/a.png": b"1", "shot/2/b.png": b"2"})
    pack(tmp_path / "blur.zip", {"zoom/1/a.png": b"3", "shot/1/c.png": b"4"})
    assert list_folder(tmp_path) == (["shot", "zoom"], ["blur.zip", "noise.tar"], [])
    assert list_folder(tmp_path / "shot" / "1") == ([], ["a.png", "c.png"], [])
    assert [read_whole(tmp_path / "shot" / "1" / name) for name in ("a.png", "c.png")] == [b"1", b"4"]


def test_a_file_in_two_archives_is_refused(tmp_path: Path) -> None:
    pack(tmp_path / "one.tar", {"a/0.png": b"1"})
    pack(tmp_path / "two.tar", {"a/0.png": b"1"})
    with pytest.raises(UserError, match=r"one\.tar and .*two\.tar both have a/0\.png; move one"):
        list_folder(tmp_path / "a")


def test_what_is_unpacked_comes_first(tmp_path: Path) -> None:
    pack(tmp_path / "a.tar", {"a/0.png": b"packed", "a/1.png": b"packed"})
    unpack(tmp_path, {"a/0.png": b"unpacked"})
    assert list_folder(tmp_path / "a") == ([], ["0.png"], [])
    assert read_whole(tmp_path / "a" / "0.png") == b"unpacked"
    with pytest.raises(MissingImage):
        read_whole(tmp_path / "a" / "1.png")
    assert list_folder(tmp_path) == (["a"], ["a.tar"], [])


def test_a_folder_with_an_image_of_its_own_is_listed_without_its_archives(tmp_path: Path) -> None:
    pack(tmp_path / "a.tar", {"a/0.png": b""})
    unpack(tmp_path, {"own.png": b""})
    assert list_folder(tmp_path) == ([], ["a.tar", "own.png"], [])
    assert is_folder(tmp_path / "a")  # asked for by name, it is found


def test_archives_are_looked_into_no_more_than_a_block_allows(tmp_path: Path) -> None:
    pack(tmp_path / "a.tar", {"a/0.png": b"x"})
    with looking_into("indexed"):
        assert not is_folder(tmp_path / "a")
    assert is_folder(tmp_path / "a")
    with looking_into("indexed"):
        assert is_folder(tmp_path / "a")
        with looking_into("none"), looking_into("all"):
            assert not is_folder(tmp_path / "a")


def index_of(archive: Path) -> Path:
    assert archive_at(str(archive)).has_folder("")
    (found,) = (path for path in (default_cache() / "archives").glob("*.sqlite") if _states(path, archive))
    return found


def _states(index: Path, archive: Path) -> bool:
    with sqlite3.connect(index) as database:
        (path,) = database.execute("SELECT value FROM facts WHERE name = 'path'").fetchone()
    database.close()
    return str(archive) in path


def test_an_archive_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.tar", {"a/0.png": b"old"})
    assert read_listed(tmp_path / "a" / "0.png") == b"old"
    pack(archive, {"a/more.png": b"", "a/0.png": b"newer"})
    assert list_folder(tmp_path / "a")[1] == ["0.png", "more.png"]
    assert read_listed(tmp_path / "a" / "0.png") == b"newer"


def test_an_archive_replaced_under_the_same_size_and_time_is_noticed_as_it_is_read(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.tar", {"a/0.png": b"zero", "a/1.png": b"one"})
    assert read_listed(tmp_path / "a" / "0.png") == b"zero"
    status = archive.stat()
    pack(archive, {"a/1.png": b"one", "a/0.png": b"zero"})
    os.utime(archive, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert read_listed(tmp_path / "a" / "0.png") == b"zero"


def read_listed(path: Path) -> bytes:
    assert is_file(path)
    return read_whole(path)


@pytest.mark.parametrize("place", [0.0, 0.3, 0.6, 0.99])
@pytest.mark.parametrize("form", ["a.tar", "a.tar.gz"])
def test_a_damaged_index_is_built_again(tmp_path: Path, form: str, place: float) -> None:
    tree = {f"a/{number:03d}.png": bytes([number]) * number for number in range(200)}
    archive = pack(tmp_path / form, tree)
    index = index_of(archive)
    for file in (index, index.with_suffix(".seek")):
        if file.exists():
            content = bytearray(file.read_bytes())
            start = int(place * len(content))
            content[start : start + 300] = b"\xa5" * len(content[start : start + 300])
            file.unlink()
            file.write_bytes(content)
    archive.rename(tmp_path / "b")
    (tmp_path / "b").rename(archive)  # as another process would see it: opened anew
    assert list_folder(tmp_path / "a")[1] == sorted(path.partition("/")[2] for path in tree)
    assert {path: read_whole(tmp_path / path) for path in tree} == tree


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack(tmp_path / "a.tar", {"a/0.png": b""})
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("APM_TTA_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"file/archives cannot be written .*; name another folder .* APM_TTA_CACHE"):
        is_folder(tmp_path / "a")
