"""What is written is complete or absent, and replaces files alone: not pipes, devices or links."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from apm_tta.errors import UserError
from apm_tta.system.files import write_output, write_whole

REAL_FSYNC = os.fsync


def kind(path: Path) -> int:
    return stat.S_IFMT(path.lstat().st_mode)


def test_a_link_is_followed_whether_or_not_its_target_is_there(tmp_path: Path) -> None:
    for target in (tmp_path / "there", tmp_path / "new"):
        link = tmp_path / f"to-{target.name}"
        link.symlink_to(target.name)
        if target.name == "there":
            target.write_bytes(b"old")
        write_whole(link, b"content")
        assert kind(link) == stat.S_IFLNK
        assert target.read_bytes() == b"content"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "there", "to-new", "to-there"]


@pytest.mark.parametrize("mode", [0o600, 0o664])
def test_a_file_that_is_replaced_keeps_its_permissions_and_a_new_one_has_those_of_open(
    tmp_path: Path, mode: int
) -> None:
    kept, new, opened = tmp_path / "kept", tmp_path / "new", tmp_path / "opened"
    kept.write_bytes(b"old")
    kept.chmod(mode)
    opened.write_bytes(b"")
    for path in (kept, new):
        write_whole(path, b"content")
    assert stat.S_IMODE(kept.stat().st_mode) == mode
    assert new.stat().st_mode == opened.stat().st_mode


def test_what_is_no_file_is_never_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path, Path(os.devnull)):
        before = kind(path)
        with pytest.raises(OSError, match="it is "):
            write_whole(path, b"content")
        assert kind(path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_an_output_goes_into_the_pipe_or_the_device_that_is_named(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_output(pipe, b"a,b\n")
    reader.join()
    assert read == [b"a,b\n"]
    write_output(Path(os.devnull), b"a,b\n")
    assert kind(Path(os.devnull)) == stat.S_IFCHR
    with pytest.raises(UserError, match="No space left on device"):
        write_output(Path("/dev/full"), b"a,b\n")


def test_an_output_into_a_stream_of_this_process_is_appended_to_it(tmp_path: Path) -> None:
    """As ``--csv /dev/fd/N`` with ``N>>file``: opened anew, the file would be cut off."""
    with (tmp_path / "log").open("wb") as file:
        file.write(b"before\n")
        file.flush()
        write_output(Path(f"/dev/fd/{file.fileno()}"), b"a,b\n")
        file.write(b"after\n")
    assert (tmp_path / "log").read_bytes() == b"before\na,b\nafter\n"


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.ENOSYS])
def test_a_file_system_that_syncs_no_folder_is_written_to(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, os.strerror(code))
        REAL_FSYNC(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    write_whole(tmp_path / "folder" / "file", b"content")
    assert (tmp_path / "folder" / "file").read_bytes() == b"content"


def test_a_disk_that_fails_to_sync_is_not_taken_for_one_that_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sync(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", sync)
    with pytest.raises(OSError, match="Input/output error"):
        write_whole(tmp_path / "file", b"content")
    assert not list(tmp_path.iterdir())


def test_a_single_file_that_a_container_was_given_is_written_in_place(tmp_path: Path) -> None:
    """It is a mount of its own, which cannot be renamed over."""
    script = f"""
import subprocess
import sys
from pathlib import Path
from apm_tta.system.files import write_whole
given = Path({str(tmp_path)!r})
subprocess.run(["mount", "--bind", given / "outside", given / "inside"], check=True)
write_whole(given / "inside", b"content")
"""
    for name in ("inside", "outside"):
        (tmp_path / name).write_bytes(b"old")
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("nothing can be mounted here: unshare -m is refused")
    subprocess.run(["unshare", "-m", sys.executable, "-c", script], check=True)
    assert (tmp_path / "outside").read_bytes() == b"content"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inside", "outside"]
