"""A file over HTTP is whole and the right one, or nothing: against a real server that does everything wrong."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from download_server import CHANGED, Handler, Served, Server

from apm_tta.download.http import fetch_http
from apm_tta.download.transfer import Persistence, Refused, Wanted
from apm_tta.errors import UserError

CONTENT = b"".join(hashlib.sha256(bytes([number % 256, number // 256])).digest() for number in range(10_000))
"""320,000 bytes of which no part is like another."""
HALF = 150_000
PATH = "/noise.tar"

Fault = Callable[[Handler, Served], None]
Fetch = Callable[..., bytes]


@pytest.fixture
def fetch(server: Server, tmp_path: Path) -> Fetch:
    """Return a function that fetches the file as one command does, and returns its bytes."""

    def fetched(size: int | None = None, digest_known: bool = False, retries: int = 3, path: str = PATH) -> bytes:
        waits: list[float] = []
        persistence = Persistence(timeout_s=0.3, retries=retries, sleep=waits.append)
        wanted = Wanted("noise.tar", size, digest_known)
        with requests.Session() as session:
            told: list[tuple[int, int | None]] = []
            place = fetch_http(
                server.address + path, tmp_path, wanted, lambda *now: told.append(now), persistence, session
            )
        assert told == [] or told[-1][0] == place.stat().st_size
        return place.read_bytes()

    return fetched


def cut(at: int = HALF) -> Fault:
    """Say how much there is, and break off."""
    return lambda handler, served: handler.answer(
        200, served.content[:at], handler.of(served), length=len(served.content)
    )


def stall(handler: Handler, served: Served) -> None:
    """Send a part, and then nothing."""
    handler.answer(200, served.content[:HALF], handler.of(served), length=len(served.content))
    threading.Event().wait(1.0)


def test_a_file_comes_whole(server: Server, fetch: Fetch) -> None:
    server.put(PATH, CONTENT)
    assert fetch() == fetch(len(CONTENT)) == CONTENT
    assert server.ranges(PATH) == [""], "what is whole is not asked for again"


@pytest.mark.parametrize("fault", [cut(), stall], ids=["breaks off", "stalls"])
@pytest.mark.parametrize("tag", ['"one"', 'W/"one"', ""])
def test_what_broke_off_is_gone_on_with_and_validated(server: Server, fetch: Fetch, fault: Fault, tag: str) -> None:
    """By a strong ETag; by the date where the ETag is weak or missing."""
    server.put(PATH, CONTENT, etag=tag if tag.startswith('"') else "", headers={"ETag": tag}).faults.append(fault)
    assert fetch(len(CONTENT)) == CONTENT
    first, second = (headers for _, headers in server.asked)
    assert "Range" not in first
    start = int(second["Range"].removeprefix("bytes=").rstrip("-"))
    assert HALF - (1 << 16) <= start <= HALF
    assert second["If-Range"] == ('"one"' if tag == '"one"' else CHANGED)


def test_a_part_without_any_validator_is_not_gone_on_with(server: Server, fetch: Fetch) -> None:
    server.put(PATH, CONTENT, etag="", changed="").faults.append(cut())
    assert fetch() == CONTENT
    assert server.ranges(PATH) == ["", ""]


def test_a_date_of_the_same_second_is_no_validator(server: Server, fetch: Fetch) -> None:
    """The file may change once more within it."""
    far = "Fri, 31 Dec 2100 00:00:00 GMT"
    server.put(PATH, CONTENT, etag="", changed=far).faults.append(cut())
    assert fetch() == CONTENT
    assert server.ranges(PATH) == ["", ""]


def another_range(handler: Handler, served: Served) -> None:
    span = {"Content-Range": f"bytes 7-{len(served.content) - 1}/{len(served.content)}"}
    handler.answer(206, served.content[7:], handler.of(served) | span)


def another_total(handler: Handler, served: Served) -> None:
    span = {"Content-Range": f"bytes {HALF}-{HALF + 9}/{HALF + 10}"}
    handler.answer(206, served.content[HALF : HALF + 10], handler.of(served) | span)


def another_version(handler: Handler, served: Served) -> None:
    """Answer the range of a file that has changed, as a server that does not know If-Range."""
    span = {"Content-Range": f"bytes {HALF}-{len(served.content) - 1}/{len(served.content)}"}
    handler.answer(206, bytes(len(served.content) - HALF), {"ETag": '"two"'} | span)


def without_range(handler: Handler, served: Served) -> None:
    handler.answer(206, served.content[HALF:], handler.of(served))


def words_for_range(handler: Handler, served: Served) -> None:
    handler.answer(206, served.content[HALF:], handler.of(served) | {"Content-Range": "bytes all"})


def not_satisfiable(handler: Handler, served: Served) -> None:
    handler.answer(416, b"", {"Content-Range": f"bytes */{len(served.content)}"})


@pytest.mark.parametrize(
    "fault", [another_range, another_total, another_version, without_range, words_for_range, not_satisfiable]
)
def test_a_wrong_answer_to_a_range_begins_anew(server: Server, fetch: Fetch, fault: Fault) -> None:
    server.put(PATH, CONTENT).faults.extend([cut(), fault])
    assert fetch() == CONTENT
    ranges = server.ranges(PATH)
    assert (ranges[0], ranges[1][:6], ranges[2]) == ("", "bytes=", "")


def test_a_server_without_ranges_sends_all_of_it_again(server: Server, fetch: Fetch) -> None:
    whole: Fault = lambda handler, served: handler.answer(200, served.content, handler.of(served))  # noqa: E731
    server.put(PATH, CONTENT).faults.extend([cut(), whole])
    assert fetch() == CONTENT


def test_a_range_in_pieces_is_put_together(server: Server, fetch: Fetch) -> None:
    def some(handler: Handler, served: Served) -> None:
        start = int(handler.headers["Range"].removeprefix("bytes=").rstrip("-"))
        body = served.content[start : start + 50_000]
        span = {"Content-Range": f"bytes {start}-{start + len(body) - 1}/{len(served.content)}"}
        handler.answer(206, body, handler.of(served) | span)

    server.put(PATH, CONTENT).faults.extend([cut(), some, some])
    assert fetch() == CONTENT
    assert len(server.asked) == 4


def test_a_file_that_changed_between_two_attempts_is_fetched_whole(server: Server, fetch: Fetch) -> None:
    """The first half of the old one is not joined to the second half of the new one."""
    served = server.put(PATH, CONTENT)
    served.faults.append(cut())
    with pytest.raises(Refused):
        fetch(retries=0)
    served.content, served.etag = CONTENT[::-1], '"two"'
    assert fetch() == CONTENT[::-1]
    assert server.asked[1][1]["If-Range"] == '"one"'


def test_a_later_process_goes_on(server: Server, fetch: Fetch) -> None:
    server.put(PATH, CONTENT).faults.extend([cut()] * 2)
    for _ in range(2):
        with pytest.raises(Refused, match="the connection broke off"):
            fetch(retries=0)
    assert fetch() == CONTENT
    assert all(text for text in server.ranges(PATH)[1:])


def test_what_fails_without_progress_ends(server: Server, fetch: Fetch) -> None:
    """A server that gives a few bytes more each time is patiently asked; one that gives none is not."""
    server.put(PATH, CONTENT).faults.extend(cut(size) for size in (10_000, 70_000, 140_000, 210_000))
    assert fetch(retries=1) == CONTENT
    server.put("/other", CONTENT, etag="", changed="").faults.extend([cut(5)] * 9)
    with pytest.raises(Refused, match="the connection broke off, 4 times in a row"):
        fetch(path="/other")
    assert len(server.ranges("/other")) == 4


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_may_pass_is_tried_again(server: Server, fetch: Fetch, status: int) -> None:
    later: Fault = lambda handler, _: handler.answer(status, b"later", {"Retry-After": "7"})  # noqa: E731
    server.put(PATH, CONTENT).faults.extend([later, cut(), later])
    assert fetch() == CONTENT
    assert len(server.asked) == 4
    server.files[PATH].faults.extend([later] * 9)


def test_a_server_is_waited_for_as_long_as_it_asks_and_never_for_more_than_a_minute() -> None:
    waits: list[float] = []
    persistence = Persistence(pause_s=1, sleep=waits.append)
    for failures, asked in ((1, 0.0), (3, 0.0), (1, 7.0), (1, 9e9), (40, 0.0)):
        persistence.pause(failures, asked)
    assert waits == [1, 4, 7, 60, 60]


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((404, b"", {}), "it answers 404 Not Found"),
        ((403, b"", {}), "it answers 403 Forbidden"),
        ((206, CONTENT, {"Content-Range": "bytes 0-1/2"}), "it answers 206"),
        (
            (200, b"<html>sorry</html>", {"Content-Type": "text/html; charset=utf-8"}),
            "there is a web page, not the file",
        ),
        ((200, b"\n<!DOCTYPE html><title>log in", {}), "there is a web page, not the file"),
        ((200, b"<?xml version='1.0'?><Error/>", {"Content-Type": "application/x-tar"}), "there is a web page"),
        ((302, b"", {"Location": PATH}), "redirects"),
    ],
)
def test_what_is_not_the_file_is_refused_at_once(
    server: Server, fetch: Fetch, tmp_path: Path, answer: tuple[int, bytes, dict[str, str]], says: str
) -> None:
    server.put(PATH, CONTENT).faults.extend([lambda handler, _: handler.answer(*answer)] * 40)
    with pytest.raises(Refused, match=says):
        fetch()
    assert not any(file.stat().st_size for file in tmp_path.iterdir() if file.suffix != ".json")


@pytest.mark.parametrize("size", [len(CONTENT) - 1, len(CONTENT) + 1], ids=["too little", "too much"])
def test_another_size_than_stated_is_refused_before_a_byte_is_taken(
    server: Server, fetch: Fetch, tmp_path: Path, size: int
) -> None:
    server.put(PATH, (CONTENT + b"x")[:size])
    with pytest.raises(Refused, match=f"there are {size:,} bytes, and the file has 320,000"):
        fetch(len(CONTENT))
    assert not list(tmp_path.iterdir())


def unsized(body: bytes) -> Fault:
    """Send until the connection is closed, without a word on how much it is."""
    return lambda handler, served: handler.answer(200, body, handler.of(served), length=-1)


def test_without_a_word_on_its_size_only_what_is_known_otherwise_makes_a_file(
    server: Server, fetch: Fetch, tmp_path: Path
) -> None:
    served = server.put(PATH, CONTENT)
    served.faults.append(unsized(CONTENT))
    with pytest.raises(Refused, match="nobody can tell whether it is whole"):
        fetch()
    served.faults.append(unsized(CONTENT + b"more"))
    with pytest.raises(Refused, match="more than the 320,000 bytes"):
        fetch(len(CONTENT))
    served.faults.append(unsized(CONTENT[:HALF]))
    assert fetch(len(CONTENT)) == CONTENT, "too little is gone on with"
    for file in tmp_path.iterdir():
        file.unlink()
    served.faults.append(unsized(CONTENT))
    assert fetch(digest_known=True) == CONTENT, "whoever has a digest sees afterwards"


def test_chunks_say_themselves_where_they_end(server: Server, fetch: Fetch) -> None:
    def chunked(handler: Handler, served: Served) -> None:
        body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (CONTENT[:HALF], CONTENT[HALF:], b""))
        handler.answer(200, body, handler.of(served) | {"Transfer-Encoding": "chunked"}, length=-1)

    server.put(PATH, CONTENT).faults.append(chunked)
    assert fetch() == CONTENT


def test_an_archive_that_the_server_calls_compressed_stays_as_it_is(server: Server, fetch: Fetch) -> None:
    """Apache says that of every ``.tar.gz``; the digest is that of the file."""
    server.put(PATH, CONTENT, headers={"Content-Encoding": "gzip"})
    assert fetch(len(CONTENT)) == CONTENT


def test_redirects_are_followed_also_when_it_goes_on(server: Server, fetch: Fetch) -> None:
    server.put("/elsewhere", CONTENT).faults.append(cut())
    to: Fault = lambda handler, _: handler.answer(302, b"", {"Location": f"/elsewhere?{len(server.asked)}"})  # noqa: E731
    server.put(PATH, b"").faults.extend([to] * 2)
    assert fetch() == CONTENT
    assert [bool(text) for text in server.ranges("/elsewhere")] == [False, True]


def test_a_server_that_is_not_there_is_said_in_one_line(server: Server, fetch: Fetch, tmp_path: Path) -> None:
    persistence = Persistence(timeout_s=0.3, retries=1, sleep=lambda _: None)
    with (
        requests.Session() as session,
        pytest.raises(Refused, match=r"the connection failed \(Connection refused\), 2"),
    ):
        fetch_http("http://127.0.0.1:9/x", tmp_path, Wanted("x", None, False), lambda *_: None, persistence, session)


def test_a_disk_that_is_full_is_one_line_beforehand_and_midway(
    server: Server, fetch: Fetch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has come stays, and is gone on with when there is room."""
    resource = pytest.importorskip("resource")
    server.put(PATH, CONTENT)
    with monkeypatch.context() as full:
        usage = type("Usage", (), {"free": 1000})
        full.setattr("apm_tta.download.http.shutil.disk_usage", lambda _: usage)
        with pytest.raises(UserError, match=r"has room for 1.0 kB, and the file needs 320.0 kB; make room"):
            fetch()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (HALF, before[1]))
    try:
        with pytest.raises(UserError, match=r"cannot be written \(File too large\); make room.*it goes on from there"):
            fetch()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert fetch() == CONTENT
    assert server.ranges(PATH)[-1] == f"bytes={HALF}-"
