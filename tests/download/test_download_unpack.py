"""An archive is unpacked whole, inside its folder and within bounds, or not at all."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from apm_tta.data.archives import is_archive_name
from apm_tta.download.unpack import Bounds, unpack
from apm_tta.errors import UserError

FILES = {"n01440764/a.JPEG": b"one", "n01440764/b.JPEG": b"two" * 1000, "n01443537/c.JPEG": b""}


def tar(path: Path, *entries: tuple[str, bytes | None], mode: str = "w", **fields: object) -> Path:
    """Write a tar of files, and of folders where the content is None; ``fields`` are set of each entry."""
    with tarfile.open(path, mode) as written:  # type: ignore[call-overload]
        for name, content in entries:
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE if content is None else tarfile.REGTYPE
            info.size = len(content or b"")
            for field, value in fields.items():
                setattr(info, field, value)
            written.addfile(info, io.BytesIO(content or b""))
    return path


def zipped(path: Path, *entries: tuple[str, bytes], attributes: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as written:
        for name, content in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr = attributes
            info.compress_type = zipfile.ZIP_DEFLATED
            written.writestr(info, content)
    return path


def found(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, hidden ones too, except archives themselves."""
    files = (path for path in folder.rglob("*") if path.is_file() and not is_archive_name(path.name))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz", "a.zip"])
def test_an_archive_of_every_kind_is_unpacked_beside_itself(name: str, tmp_path: Path) -> None:
    if name == "a.zip":
        zipped(tmp_path / name, *FILES.items())
    else:
        tar(
            tmp_path / name,
            ("n01440764", None),
            *FILES.items(),
            mode=f"w:{name[6:] or 'gz' if '.' in name[2:] else ''}",
        )
    told: list[int] = []
    unpack(tmp_path / name, told.append)
    assert found(tmp_path) == FILES
    assert sum(told) == 3003
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert not stat.S_IMODE((tmp_path / "n01440764" / "a.JPEG").stat().st_mode) & 0o7111


OUTSIDE = ["../x", "/x", "a/../../x", "a\\..\\x", "C:x", "..", "a/../x"]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("suffix", [".tar", ".zip"])
def test_no_entry_leads_out_of_the_folder(name: str, suffix: str, tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    write = tar if suffix == ".tar" else zipped
    archive = write(folder / f"a{suffix}", ("good", b"1"), (name, b"2"))
    with pytest.raises(UserError, match="leads out of its folder") as caught:
        unpack(archive)
    assert "\n" not in str(caught.value)
    assert found(tmp_path) == {}


KINDS = {
    "a link": (tarfile.SYMTYPE, tarfile.LNKTYPE),
    "a device or pipe": (tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE),
}


@pytest.mark.parametrize(("says", "kind"), [(says, kind) for says, kinds in KINDS.items() for kind in kinds])
def test_links_and_devices_are_refused(says: str, kind: bytes, tmp_path: Path) -> None:
    archive = tar(tmp_path / "a.tar", ("x", b""), type=kind, linkname="/etc/passwd")
    with pytest.raises(UserError, match=f"has {says} in it, x"):
        unpack(archive)
    assert found(tmp_path) == {}


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", ("x", b"/etc/passwd"), attributes=(stat.S_IFLNK | 0o777) << 16)
    with pytest.raises(UserError, match="has a link or a device in it, x"):
        unpack(archive)


def test_what_grows_without_bound_is_refused(tmp_path: Path) -> None:
    """Whatever size it states of itself: what is written counts."""
    archive = zipped(tmp_path / "a.zip", *((f"{number}", bytes(1_000_000)) for number in range(3)))
    with pytest.raises(UserError, match=r"unpacks to more than \d+\.\d kB, which no data set does"):
        unpack(archive)
    with pytest.raises(UserError, match="holds more than 2 files"):
        unpack(archive, bounds=Bounds(growth=10**6, files=2))
    assert found(tmp_path) == {}


def test_a_password_is_asked_for_in_words(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "a.zip", ("x", b"1"))
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    with pytest.raises(UserError, match="needs a password; unpack it by hand"):
        unpack(archive)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda content: content[: len(content) // 2],
    "text": lambda _: b"not found",
    "empty": lambda _: b"",
    "flipped": lambda content: content[:40] + bytes(40) + content[80:],
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["a.tar.gz", "a.zip"])
def test_a_damaged_archive_leaves_nothing(name: str, damage: str, tmp_path: Path) -> None:
    entries = [(str(number), os.urandom(5000)) for number in range(4)]
    if name == "a.zip":
        archive = zipped(tmp_path / name, *entries)
    else:
        archive = tar(tmp_path / name, *entries, mode=f"w:{name[6:]}")
    archive.write_bytes(DAMAGES[damage](archive.read_bytes()))
    with pytest.raises(UserError, match=r"cannot be unpacked .*download it again") as caught:
        unpack(archive)
    assert "\n" not in str(caught.value)
    assert found(tmp_path) == {}


def test_an_entry_that_comes_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has x twice"):
        unpack(tar(tmp_path / "a.tar", ("x", b"1"), ("x", b"2")))


def test_a_folder_that_is_there_is_added_to_and_no_file_replaced(tmp_path: Path) -> None:
    (tmp_path / "dtd").mkdir()
    (tmp_path / "dtd" / "split.json").write_bytes(b"mine")
    archive = tar(tmp_path / "a.tar", ("dtd/images/x.jpg", b"1"))
    unpack(archive)
    assert found(tmp_path) == {"dtd/split.json": b"mine", "dtd/images/x.jpg": b"1"}
    unpack(archive)  # the same once more
    (tmp_path / "dtd" / "images" / "x.jpg").write_bytes(b"2")
    with pytest.raises(UserError, match="is there already and another one; move it away"):
        unpack(archive)
    assert (tmp_path / "dtd" / "images" / "x.jpg").read_bytes() == b"2"


class Killed(BaseException):
    """What ends a process without its cleaning up."""


@pytest.mark.parametrize("pieces", range(4))
def test_what_was_killed_while_it_wrote_has_left_nothing_and_begins_anew(pieces: int, tmp_path: Path) -> None:
    archive = tar(tmp_path / "a.tar", *((f"d/{number}", b"1") for number in range(5)))
    written: list[int] = []

    def told(size: int) -> None:
        written.append(size)
        if len(written) > pieces:
            raise Killed

    with pytest.raises(Killed):
        unpack(archive, told)
    assert all(name.startswith(".") for name in found(tmp_path))
    unpack(archive)
    assert found(tmp_path) == {f"d/{number}": b"1" for number in range(5)}


@pytest.mark.parametrize("moves", range(4))
def test_what_was_killed_while_it_moved_goes_on(moves: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tar(tmp_path / "a.tar", *((f"{number}/x", b"1") for number in range(4)))
    moved: list[Path] = []
    rename = Path.rename

    def dies(path: Path, target: Path) -> Path:
        if len(moved) == moves:
            raise Killed
        moved.append(target)
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", dies)
        with pytest.raises(Killed):
            unpack(archive)
    assert {path.parent for path in moved} <= {tmp_path}
    unpack(archive)
    assert found(tmp_path) == {f"{number}/x": b"1" for number in range(4)}


def test_a_full_disk_leaves_nothing_and_is_one_line(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    archive = tar(tmp_path / "a.tar", ("x", bytes(100_000)))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(UserError, match=r"cannot be written \(File too large\); make room"):
            unpack(archive)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert found(tmp_path) == {}
