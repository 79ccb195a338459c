"""Bring one file to its place: from the first address that gives it, checked, and only then under its name."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import requests
from tqdm import tqdm

from apm_tta.data.downloads import Download
from apm_tta.data.file_digests import Record, Records, chunks_of, compute_digests, wrong_digest
from apm_tta.download.drive import fetch_from_drive, is_of_drive
from apm_tta.download.http import fetch_http
from apm_tta.download.hub import ask_hub, is_of_hub
from apm_tta.download.transfer import MAKE_SPACE, NeedsPerson, Persistence, Refused, Told, Wanted
from apm_tta.errors import UserError
from apm_tta.system.bars import byte_bar
from apm_tta.system.files import PARTIAL, unwritable
from apm_tta.wording import in_units, visible

BY_HAND = "or fetch it yourself and put it there"


@dataclass(frozen=True)
class Place:
    """Where one file of a data set belongs.

    Attributes:
        path: of the file when it is whole.
        file: what the card states of it.
        records: of the files in its folder.
    """

    path: Path
    file: Download
    records: Records

    @property
    def work(self) -> Path:
        """Folder of what has come so far, hidden from every reader, of which nothing bears the name of the file."""
        return self.path.with_name(f".{self.path.name}{PARTIAL}")

    def record(self) -> Record | None:
        """Return what was computed of the file when it came; None where nothing was, or it has changed since."""
        return self.records.current(self.path.name)

    def begun(self) -> int:
        """Return how many bytes an earlier attempt has left."""
        with suppress(OSError):
            return max((path.stat().st_size for path in self.work.rglob("*") if path.is_file()), default=0)
        return 0

    @property
    def is_new(self) -> bool:
        """Whether nothing of the file is there, or ever was."""
        return self.path.name not in self.records.by_name and not self.path.exists() and not self.work.exists()

    def state(self) -> str:
        """Say in a few words what is there."""
        if self.record() is not None:
            return "there, and checked"
        if self.path.is_file():
            return "there, not checked yet"
        if begun := self.begun():
            return f"begun, {in_units(begun)} are there"
        return "to be got by hand" if self.file.by_hand else "not there"


def describe_digests(file: Download) -> list[str]:
    """Say which digests a file has and who states them, one in a line."""
    stated = [f"{digest.replace(':', ' ')}, stated by {origin}" for digest, origin in file.digests.items()]
    return stated or ["digest not known: nobody states one"]


def bring(place: Place, say: Callable[[str], None], persistence: Persistence) -> None:
    """Fetch the file unless it is there; check it, and record what was computed of it beside it.

    Args:
        place: of the file.
        say: is told in one line what happens, and what came of it.
        persistence: how long a transfer is tried again.

    Raises:
        Refused: when no address gives it; ``NeedsPerson`` when a person has to do something first.
        UserError: when a file is there that is not the one that the card states, or there is no room.
    """
    path, file = place.path, place.file
    if place.record() is not None:
        return
    if path.is_file():
        if wrong := _check(place, path, file.digests, say):
            raise UserError(f"{path} {wrong}", advice="move it away, and run the same command again")
        return
    problems = []
    for address in file.addresses:
        say(f"from {visible(address)}")
        try:
            _fetch_checked(place, address, say, persistence)
            return
        except NeedsPerson:
            raise
        except Refused as problem:
            problems.append(f"{visible(address)}: {problem}")
    raise Refused("; ".join(problems))


def _fetch_checked(place: Place, address: str, say: Callable[[str], None], persistence: Persistence) -> None:
    """Fetch from one address; what is wrong after it was gone on with is fetched once more from its start."""
    path, work, file = place.path, place.work, place.file
    while True:
        resumed = place.begun() > 0
        try:
            work.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(work, error, MAKE_SPACE) from None
        with byte_bar(path.name, file.bytes) as shown:
            came, digests = _fetch(address, work, file, _teller(shown), persistence)
        if not (wrong := _check(place, came, digests, say, address)):
            shutil.rmtree(work, ignore_errors=True)
            return
        shutil.rmtree(work, ignore_errors=True)
        if not resumed:
            raise Refused(f"what came {wrong}")
        say(f"what came {wrong}; it is fetched once more from its start")


def _fetch(
    address: str, work: Path, file: Download, told: Told, persistence: Persistence
) -> tuple[Path, dict[str, str]]:
    """Fetch the file, and return where it lies, and its digests with who states them."""
    digests = file.digests
    wanted = Wanted(file.name, file.bytes, bool(digests))
    if is_of_drive(address):
        return fetch_from_drive(address, work, wanted, told, persistence), digests
    with requests.Session() as session:
        if is_of_hub(address):
            found = ask_hub(address)
            session.headers.update(found.headers)
            address, wanted = found.address, Wanted(file.name, file.bytes or found.bytes, True)
            digests = digests or ({f"sha256:{found.sha256}": "the hub"} if found.sha256 else {})
        return fetch_http(address, work, wanted, told, persistence, session), digests


def _teller(shown: tqdm[None]) -> Told:
    def told(have: int, total: int | None) -> None:
        shown.total = total or shown.total
        shown.update(have - shown.n)

    return told


def _counted(chunks: Iterable[bytes], shown: tqdm[None]) -> Iterator[bytes]:
    for chunk in chunks:
        shown.update(len(chunk))
        yield chunk


def _check(place: Place, came: Path, stated: dict[str, str], say: Callable[[str], None], address: str = "") -> str:
    """Compare a file with what is known of it; give it its name, and record it. Return what is wrong, or nothing."""
    path, file = place.path, place.file
    size = came.stat().st_size
    if file.bytes is not None and size != file.bytes:
        return f"has {size:,} bytes, expected {file.bytes:,} ({file.stated_by})"
    kinds = {"sha256", *(digest.partition(":")[0] for digest in stated)}
    with byte_bar(f"{path.name}: digest", size) as shown:
        try:
            computed = compute_digests(_counted(chunks_of(came), shown), kinds)
        except OSError as error:
            raise UserError(f"{came} cannot be read ({error.strerror or error})") from None
    before = place.records.by_name.get(path.name)
    earlier = {f"sha256:{before.sha256}": "computed when it was downloaded before"} if before else {}
    if wrong := wrong_digest(stated or earlier, computed):
        return wrong
    try:
        if came != path:
            with came.open("rb") as written:
                os.fsync(written.fileno())
            came.replace(path)
        state = path.stat()
    except OSError as error:
        raise unwritable(path, error, MAKE_SPACE) from None
    record = Record(
        name=path.name,
        bytes=state.st_size,
        modified=state.st_mtime_ns,
        sha256=computed["sha256"],
        address=address,
        unpacked=before is not None and before.unpacked and before.sha256 == computed["sha256"],
    )
    place.records.add(record)
    known = f"as stated by {', '.join(dict.fromkeys(stated.values()))}" if stated else "nobody states a digest"
    say(f"whole, {in_units(size)}; {known}; sha256 {computed['sha256']} is recorded")
    return ""
