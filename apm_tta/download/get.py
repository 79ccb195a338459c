"""Bring whole data sets below a data root: what is missing of them, one file after another."""

from __future__ import annotations

import fnmatch
import itertools
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from apm_tta.data.archives import is_archive_name
from apm_tta.data.cards import DatasetCard
from apm_tta.data.downloads import Download
from apm_tta.data.file_digests import Records
from apm_tta.download.fetch import BY_HAND, Place, bring, describe_digests
from apm_tta.download.hub import files_of_repository
from apm_tta.download.transfer import MAKE_SPACE, NeedsPerson, Persistence, Refused
from apm_tta.download.unpack import unpack
from apm_tta.errors import UserError
from apm_tta.system.bars import byte_bar
from apm_tta.system.writer_lock import only_writer
from apm_tta.wording import first_few, in_units, pluralise

_MOST = 200_000
"""Files of one set that are looked at together."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Choice:
    """What is wanted of every set.

    Attributes:
        only: patterns of the files, by their names below the data root; all of them where there is none.
        mirrors: addresses of folders that have the files under their names, asked first.
        unpack: whether archives are unpacked too.
    """

    only: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    unpack: bool = False

    def wants(self, name: str) -> bool:
        """Return whether a file is wanted, by its name below the data root."""
        return not self.only or any(
            fnmatch.fnmatch(name, pattern) or fnmatch.fnmatch(name, f"*/{pattern}") for pattern in self.only
        )


@dataclass
class Outcome:
    """What came of one set.

    Attributes:
        by_hand: what a person has to do, one line for each file.
        failed: what could not be fetched: why, by the file's name below the data root.
    """

    by_hand: list[str]
    failed: dict[str, str]

    @property
    def complete(self) -> bool:
        """Return whether all files are there."""
        return not self.by_hand and not self.failed


def places(card: DatasetCard, data_root: Path, choice: Choice) -> list[Place]:
    """Return the places of the files of a set.

    Raises:
        UserError: when none is wanted, or too many are.
    """
    records = cache(Records)
    found = []
    for file in itertools.islice(_files(card, choice), _MOST + 1):
        path = data_root / file.folder / file.name
        found.append(Place(path, file, records(path.parent)))
    if len(found) > _MOST:
        raise UserError(f"{card.name} has more than {_MOST:,} files; choose some of them with --only", 2)
    if card.downloads and not found:
        names = [f"{download.folder}/{download.name}".lstrip("/") for download in card.downloads]
        raise UserError(f"--only {first_few(choice.only)}: no file of {card.name}, which has {first_few(names)}", 2)
    return found


def _files(card: DatasetCard, choice: Choice) -> Iterator[Download]:
    for download in card.downloads:
        if any(map(Download.is_repository, download.addresses)) and not choice.mirrors:
            yield from (file for file in _listed(download) if choice.wants(f"{file.folder}/{file.name}".lstrip("/")))
            continue
        for file in download.files(choice.wants):
            mirrored = tuple(f"{mirror.rstrip('/')}/{file.name}" for mirror in choice.mirrors)
            own = () if file.by_hand else file.addresses
            # Who names a mirror has the right to use it, also for a set that asks for an account elsewhere.
            yield file.model_copy(
                update={"addresses": mirrored + own, "steps": "" if mirrored else file.steps},
            )


def _listed(download: Download) -> list[Download]:
    """Ask the hub for the files of a repository; where it does not say, the repository stands for them."""
    try:
        return files_of_repository(download)
    except NeedsPerson as steps:
        return [download.model_copy(update={"steps": str(steps)})]
    except Refused as problem:
        return [download.model_copy(update={"steps": f"{problem}: try again, {BY_HAND}"})]


def describe(card: DatasetCard, found: Sequence[Place], steps: bool) -> Iterator[str]:
    """Describe the files of a set: what, from where, how large, by whose digest, and what of it is there.

    Args:
        card: of the set.
        found: the places of its files.
        steps: whether what a person has to do is said too.
    """
    yield f"{card.name}: {card.title}; licence: {card.licence}"
    for place in found:
        file = place.file
        size = in_units(file.bytes) if file.bytes else "size not known"
        yield f"  {place.path}: {size}; {place.state()}"
        yield from (f"    from {address}" for address in file.addresses)
        yield from (f"    {line}" for line in describe_digests(file))
        if file.by_hand and steps:
            yield f"    by hand: {file.steps}"
    sizes = [place.file.bytes for place in found]
    if len(found) > 1 and all(sizes):
        yield f"  together {in_units(sum(filter(None, sizes)))}"


def get(root: Path, found: Sequence[Place], choice: Choice, say: Say, persistence: Persistence) -> Outcome:
    """Bring the files of a set, and unpack them where that is wanted; one that fails does not stop the others.

    Args:
        root: the data root.
        found: the places of its files.
        choice: what is wanted.
        say: is told what happens, line by line.
        persistence: how long a transfer is tried again.

    Raises:
        UserError: when another process works below the data root, when there is no room, when a file is there that is
            not the one that the card states, or when an archive is not safe or damaged.
    """
    outcome = Outcome([], {})
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{root} cannot be made ({error.strerror})", advice="name another --data-root") from None
    with only_writer(root, "wait for it, or name another --data-root", stem=".get") as notes:
        for note in notes:
            say(note)
        require_room(root, found, choice.unpack)
        for place in found:
            name = place.path.relative_to(root)
            try:
                if place.file.by_hand and not place.path.is_file():
                    outcome.by_hand.append(_by_hand(place, place.file.steps))
                    continue
                bring(place, lambda line, name=name: say(f"  {name}: {line}"), persistence)  # type: ignore[misc]
            except NeedsPerson as steps:
                outcome.by_hand.append(_by_hand(place, str(steps)))
            except Refused as problem:
                outcome.failed[str(name)] = str(problem)
            else:
                if choice.unpack:
                    _unpack(place, say)
    return outcome


def _by_hand(place: Place, steps: str) -> str:
    return f"{place.path}: {steps}. What you put there is checked when the same command runs again"


def require_room(root: Path, found: Sequence[Place], unpacks: bool) -> None:
    """Refuse before hours have passed what the disk has no room for.

    Args:
        root: a folder on it.
        found: what is wanted.
        unpacks: whether archives are unpacked, which takes their own size again at least.

    Raises:
        UserError: when there is less room than the files need whose sizes are known.
    """
    needed = 0
    for place in found:
        size = 0 if place.file.by_hand else place.file.bytes or 0
        missing = 0 if place.path.is_file() else max(size - place.begun(), 0)
        record = place.record() if unpacks and is_archive_name(place.path.name) else None
        needed += missing + (
            size if unpacks and is_archive_name(place.path.name) and not (record and record.unpacked) else 0
        )
    free = shutil.disk_usage(root).free
    if needed > free:
        raise UserError(
            f"{root} has room for {in_units(free)}, and {pluralise(len(found), 'file')} need {in_units(needed)}",
            advice=f"{MAKE_SPACE}, or choose fewer with --only",
            passing=True,
        )


def _unpack(place: Place, say: Say) -> None:
    """Unpack an archive and those that the card says are in it, unless that was done."""
    record = place.record()
    if record is None or record.unpacked or not is_archive_name(place.path.name):
        return
    for archive in (place.path, *(place.path.parent / inside for inside in place.file.nested)):
        say(f"  {archive}: unpacked into {archive.parent}")
        with byte_bar(f"{archive.name}: unpacked") as shown:
            unpack(archive, shown.update)
    place.records.add(record.model_copy(update={"unpacked": True}))
