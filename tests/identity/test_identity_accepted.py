"""Things that no number depends on, changed alone: the run goes on, merges, and has the same answers."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from identity import Before, Said, answers, check_accepted, here, typed
from processes import run_program

WORDS = ("folder", "--data-root", "{place}/data", "--teacher", "embedded", "--device", "cpu", "--shard-size", "2")
SUPPORTED = (*WORDS, "--methods", "zeroshot,knn", "--support", "{place}/support", "--shots", "2")


@pytest.fixture
def begun(before: Callable[[Sequence[str]], Before]) -> Before:
    return before(SUPPORTED)


@pytest.fixture
def place(begun: Before, tmp_path: Path) -> Path:
    """Copy what the run reads, so that its files can be changed."""
    return shutil.copytree(begun.place, tmp_path / "place")


def test_times_of_files(begun: Before, place: Path, tmp_path: Path) -> None:
    for path in place.rglob("*"):
        os.utime(path, (1e9, 1e9))
    check_accepted(begun, place, begun.words, tmp_path)


def test_the_path_of_the_root(begun: Before, place: Path, tmp_path: Path) -> None:
    """Moved, and the folders of data and of labelled images renamed."""
    moved = tmp_path / "another disk" / "élsewhere"
    moved.parent.mkdir()
    place.rename(moved)
    (moved / "data").rename(moved / "tested")
    (moved / "support").rename(moved / "labelled")
    words = [word.replace("/data", "/tested").replace("/support", "/labelled") for word in begun.words]
    check_accepted(begun, moved, words, tmp_path)


def test_the_path_of_the_root_behind_a_link(begun: Before, place: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(place)
    check_accepted(begun, tmp_path / "link", begun.words, tmp_path)


@pytest.mark.parametrize("reverse", [False, True])
def test_the_order_of_files_on_disk(
    reverse: bool, begun: Before, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written in another order, and listed in another one by the system."""
    again = tmp_path / "again"
    for path in sorted(begun.place.rglob("*"), reverse=True):
        if path.is_file():
            copied = again / path.relative_to(begun.place)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copied)
    scan = os.scandir

    class Ordered:
        """What ``os.scandir`` returns, in an order of its own."""

        def __init__(self, *arguments: str) -> None:
            with scan(*arguments) as found:
                self._entries = iter(sorted(found, key=lambda entry: entry.name, reverse=reverse))

        def __iter__(self) -> Iterator[os.DirEntry[str]]:
            return self._entries

        def __next__(self) -> os.DirEntry[str]:
            return next(self._entries)

        def __enter__(self) -> Ordered:
            return self

        def __exit__(self, *_error: object) -> None:
            self.close()

        def close(self) -> None:
            pass

    monkeypatch.setattr(os, "scandir", Ordered)
    monkeypatch.setattr(os, "listdir", lambda *at: sorted((entry.name for entry in Ordered(*at)), reverse=reverse))
    check_accepted(begun, again, begun.words, tmp_path)


@pytest.mark.parametrize(
    "more",
    [
        ("--workers", "2"),
        ("--batch-size", "3"),
        ("--memory", "0.5"),
        ("--feature-cache",),
        ("--devices", "cpu"),
        ("--json",),
    ],
    ids=" ".join,
)
def test_how_it_is_computed(more: tuple[str, ...], begun: Before, tmp_path: Path) -> None:
    check_accepted(begun, begun.place, (*begun.words, *more), tmp_path)


def test_the_number_of_devices(begun: Before, tmp_path: Path) -> None:
    """To go on with a finished run, none of two processes has to start; ``test_harness_own_methods`` starts them."""
    shutil.copytree(begun.whole, tmp_path / "whole")
    two = [*typed(begun.words, begun.place, tmp_path / "whole"), "--devices", "cpu,cpu"]
    said = here([two], begun.place)
    assert [code for code, _ in said] == [0], said
    assert answers(tmp_path / "whole") == answers(begun.whole)


def test_the_order_of_methods(before: Callable[[Sequence[str]], Before], tmp_path: Path) -> None:
    begun = before((*WORDS, "--methods", "zeroshot,ensemble"))
    check_accepted(begun, begun.place, (*WORDS, "--methods", "ensemble,zeroshot"), tmp_path)


def test_the_level_of_the_log(begun: Before, tmp_path: Path) -> None:
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.DEBUG)
    try:
        check_accepted(begun, begun.place, begun.words, tmp_path)
    finally:
        logging.getLogger().setLevel(level)


def test_the_folder_of_the_cache(begun: Before, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APM_TTA_CACHE", str(tmp_path / "another cache"))
    check_accepted(begun, begun.place, begun.words, tmp_path)
    assert (tmp_path / "another cache").is_dir()


RUN = """
import json, sys
{change}
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from identity import here
print(json.dumps(here(json.loads(sys.argv[2]), Path(sys.argv[3]))))
"""
LOCALE = """
import locale
assert locale.setlocale(locale.LC_ALL, "") == "C"
"""
ZONE = """
import time
time.tzset()
assert time.timezone == -14 * 3600
"""
HOST = """
import ctypes, socket
libc, name = ctypes.CDLL(None, use_errno=True), b"another-machine"
if libc.unshare(0x04000000) or libc.sethostname(name, len(name)):
    sys.exit(77)
assert socket.gethostname() == name.decode()
"""


@pytest.mark.parametrize(
    ("change", "environment"),
    [(LOCALE, {"LC_ALL": "C", "LANG": "C"}), (ZONE, {"TZ": "<+14>-14"}), (HOST, {})],
    ids=["locale", "time zone", "host name"],
)
def test_where_a_process_is(change: str, environment: dict[str, str], begun: Before, tmp_path: Path) -> None:
    def bench(commands: Sequence[Sequence[str]], place: Path) -> list[Said]:
        helpers = str(Path(__file__).parents[1] / "helpers")
        arguments = [helpers, json.dumps([[*words] for words in commands]), str(place)]
        done = run_program(RUN.format(change=change), arguments, environment)
        if done.returncode == 77:
            pytest.skip("this user may not give a process another host name")
        assert done.returncode == 0, done.stderr
        return [(code, text) for code, text in json.loads(done.stdout.splitlines()[-1])]

    check_accepted(begun, begun.place, begun.words, tmp_path, bench)
