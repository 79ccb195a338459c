"""Fetch a file over HTTP, and go on where an earlier attempt ended, only if the file is still the same one.

``requests`` carries the bytes; what is asked and what is made of the answer is code of this file. A library that does
it was looked for: pooch 1.9 begins anew; parfive 2.3, pypdl 1.5, pySmartDL 1.3, downcraft 0.2 and
resumable-urlretrieve 0.1 go on, but none sends ``If-Range`` with the validator of the attempt before, so that a file
that has changed meanwhile can be spliced from two; pyhaul 1.0 does, and needs Python 3.12.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import requests
import urllib3

from apm_tta.download.transfer import MAKE_SPACE, Persistence, Refused, Told, Wanted
from apm_tta.errors import UserError
from apm_tta.system.files import unwritable, write_whole
from apm_tta.wording import in_units, visible

_CHUNK = 1 << 16
"""Bytes read at once: what a break in the middle of them costs."""
_AGAIN = {408, 425, 429, 500, 502, 503, 504}
"""Answers that may be others a little later."""
_PAGE = (b"<!doctype html", b"<html", b"<?xml", b"<head")
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class _Broken(Exception):
    """It failed as a connection may; what has come stays, and the next try goes on from there."""

    def __init__(self, problem: str, wait_s: float = 0.0) -> None:
        super().__init__(problem)
        self.wait_s = wait_s


@dataclass(frozen=True)
class _Known:
    """What the server said when the part that is there began.

    Attributes:
        validator: a strong ETag, or the date of the last change; empty where it gave none.
        total: size of the whole file in bytes; None where it did not say.
    """

    validator: str
    total: int | None


class _Part:
    """What has come of a file from one address, beside what the server said of it. A killed process leaves both."""

    def __init__(self, folder: Path, address: str) -> None:
        key = hashlib.sha256(address.encode()).hexdigest()[:12]  # mirrors have validators of their own
        self.path = folder / f"http-{key}"
        self._state = folder / f"http-{key}.json"

    @property
    def size(self) -> int:
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def known(self) -> _Known | None:
        """Return what the server said; None where nothing is there, or nothing can be read."""
        try:
            return _Known(**json.loads(self._state.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def begin(self, known: _Known) -> None:
        """Drop what is there, and keep what the server says now."""
        self.drop()
        try:
            write_whole(self._state, json.dumps(asdict(known)).encode())
        except OSError as error:
            raise unwritable(self._state, error, MAKE_SPACE) from None

    def drop(self) -> None:
        for path in (self.path, self._state):  # first the bytes: without them the state means nothing
            with suppress(FileNotFoundError):
                path.unlink()


def fetch_http(
    address: str, folder: Path, wanted: Wanted, told: Told, persistence: Persistence, session: requests.Session
) -> Path:
    """Fetch the file at ``address``; a call after one that was killed goes on from there.

    A part is gone on with only where the server gave it a strong ETag or a date of change, and now says by status 206
    that the file is still the one with that. Everything else begins anew.

    Args:
        address: of the file.
        folder: for what has come; the same one at the next attempt.
        wanted: what is known of the file.
        told: of the progress.
        persistence: how long to try.
        session: of ``requests``.

    Returns:
        Where the file lies in ``folder``, of the size that the server states.

    Raises:
        Refused: when this address does not give it.
        UserError: when there is no room for it.
    """
    part = _Part(folder, address)
    failures, furthest = 0, part.size
    while True:
        try:
            _ask(address, part, wanted, told, persistence, session)
            return part.path
        except _Broken as error:
            if part.size > furthest:
                furthest, failures = part.size, 0
            failures += 1
            if failures > persistence.retries:
                raise Refused(f"{error}, {failures} times in a row" if failures > 1 else str(error)) from None
            persistence.pause(failures, error.wait_s)


def _ask(
    address: str, part: _Part, wanted: Wanted, told: Told, persistence: Persistence, session: requests.Session
) -> None:
    """Ask once for what is missing, and take what comes."""
    known, have = part.known(), part.size
    if known is not None and have and have == known.total:  # killed between the last byte and its name
        return
    # "identity": a server that compressed on the way would count other bytes.
    headers = {"Accept-Encoding": "identity"}
    if known is not None and have and known.validator:
        headers |= {"Range": f"bytes={have}-", "If-Range": known.validator}
    try:
        answer = session.get(address, headers=headers, stream=True, timeout=persistence.timeout_s)
    except (requests.Timeout, requests.ConnectionError) as error:
        if isinstance(error, requests.exceptions.SSLError):
            raise Refused(f"its certificate is not accepted ({_words(error)})") from None
        raise _Broken(_words(error)) from None
    except requests.RequestException as error:  # too many redirects, an address that is none
        raise Refused(_words(error)) from None
    with answer:
        total = _begin(answer, part, wanted, known if "Range" in headers else None)
        _take(answer, part, wanted, total, told)


def _begin(answer: requests.Response, part: _Part, wanted: Wanted, asked: _Known | None) -> int | None:
    """Look at status and headers, drop the part where it cannot be gone on with, and return the size of the whole.

    Args:
        answer: of the server.
        part: what is there.
        wanted: what is known of the file.
        asked: what the server said of the part, where it was asked to go on from it.
    """
    status = answer.status_code
    if status in _AGAIN:
        raise _Broken(f"it answers {status}", _seconds(answer.headers.get("Retry-After", "")))
    if asked is not None and status == 206:
        if (total := _continued(answer, part.size, asked)) is not None:
            return total
        part.drop()
        raise _Broken("it answers another range than it was asked for")
    if asked is not None and status == 416:
        part.drop()
        raise _Broken("it has no more bytes than are there")
    if status != 200:
        raise Refused(f"it answers {status} {visible(answer.reason or '')}".rstrip())
    if answer.headers.get("Content-Type", "").partition(";")[0].strip().lower() in {
        "text/html",
        "application/xhtml+xml",
    }:
        raise Refused("there is a web page, not the file")
    length = answer.headers.get("Content-Length", "")
    total = int(length) if length.isdecimal() and "Transfer-Encoding" not in answer.headers else None
    if total is not None and wanted.bytes is not None and total != wanted.bytes:
        raise Refused(f"there are {total:,} bytes, and the file has {wanted.bytes:,}")
    _require_room(part.path.parent, total or 0)
    part.begin(_Known(_validator(answer), total))
    return total


def _continued(answer: requests.Response, have: int, asked: _Known) -> int | None:
    """Return the size of the whole where the answer goes on from what is there and is of the same file; else None."""
    found = _RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != have or int(found[2]) < have:
        return None
    total = asked.total if found[3] == "*" else int(found[3])
    if total is None or asked.total not in {None, total} or int(found[2]) >= total:
        return None
    now = {answer.headers.get(name) for name in ("ETag", "Last-Modified")} - {None}
    return total if not now or asked.validator in now else None


def _take(answer: requests.Response, part: _Part, wanted: Wanted, total: int | None, told: Told) -> None:
    """Add to the part what comes; see that it is neither a page, nor too much, nor too little."""
    have = part.size
    told(have, total)
    most = total if total is not None else wanted.bytes
    try:
        file = part.path.open("ab")
    except OSError as error:
        raise unwritable(part.path, error, MAKE_SPACE) from None
    try:
        with file:
            for chunk in _chunks(answer):
                if (
                    have == 0
                    and chunk.lstrip().lower().startswith(_PAGE)
                    and not wanted.name.endswith((".html", ".xml"))
                ):
                    raise Refused("there is a web page, not the file")
                have += len(chunk)
                if most is not None and have > most:
                    raise Refused(f"there are more than the {most:,} bytes of the file")
                file.write(chunk)
                told(have, total)
    except Refused:
        part.drop()
        raise
    except OSError as error:  # of the file alone: what the network says was made a _Broken
        raise unwritable(part.path, error, MAKE_SPACE) from None
    if most is not None and have < most:
        raise _Broken(f"it ended after {have:,} of {most:,} bytes")
    if most is None and not wanted.digest_known and answer.headers.get("Transfer-Encoding", "").lower() != "chunked":
        part.drop()
        raise Refused("it does not say how large the file is, so that nobody can tell whether it is whole")


def _chunks(answer: requests.Response) -> Iterator[bytes]:
    """Return the bytes as the server has them: an archive that it calls ``Content-Encoding: gzip`` stays compressed."""
    try:
        yield from answer.raw.stream(_CHUNK, decode_content=False)
    except (urllib3.exceptions.HTTPError, TimeoutError, ConnectionError) as error:
        raise _Broken(_words(error)) from None


def _validator(answer: requests.Response) -> str:
    """Return what tells this file from a later one of the same name: a strong ETag, else a date that counts as strong.

    A weak ETag is one of files that are alike, and a file that was changed within the second of the answer may change
    once more within it (RFC 9110, section 8.8).
    """
    tag = answer.headers.get("ETag", "")
    if tag.startswith('"'):
        return tag
    changed, now = (_time(answer.headers.get(name, "")) for name in ("Last-Modified", "Date"))
    return answer.headers["Last-Modified"] if changed is not None and now is not None and changed < now else ""


def _time(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None


def _seconds(text: str) -> float:
    return float(text) if text.isdecimal() else 0.0


def _require_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{folder.parent} has room for {in_units(free)}, and the file needs {in_units(needed)}",
            advice=MAKE_SPACE,
            passing=True,
        )


def _words(error: BaseException) -> str:
    """Say in a few words what the libraries below say in several nested lines."""
    if isinstance(error, (requests.Timeout, TimeoutError, urllib3.exceptions.TimeoutError)):
        return "it has sent nothing for too long"
    innermost = error
    while (inner := innermost.__cause__ or innermost.__context__) is not None:
        innermost = inner
    if isinstance(innermost, OSError) and innermost.strerror:
        return f"the connection failed ({innermost.strerror})"
    if isinstance(error, requests.RequestException) and not isinstance(error, requests.ConnectionError):
        return visible(str(error))[:120]
    return "the connection broke off"
