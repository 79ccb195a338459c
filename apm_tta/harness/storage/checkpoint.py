"""What a shard or stream has answered before its end, as files: rows, features, states of methods, and an index.

The index is written last and names every other file with its SHA-256: what it names is whole, and what it does not name
is of no use.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from apm_tta.configuration import Configuration
from apm_tta.harness.plan import Shard, Work

INDEX_FILE = "index.json"
_VERSION = 1


class CheckpointIndex(Configuration):
    """The content of ``index.json``.

    Attributes:
        version: of the form of all of it.
        fingerprint: of the run, as every file of records carries it.
        unit: the shard or stream, in words.
        records: the files that it will be recorded in, below the run folder: one a cell.
        retried: see ``Shard.retried``.
        number: counts the checkpoints of a unit; names of files have it.
        done: images that are behind, in the unit's own order.
        answers: how many there are, over all cells.
        files: SHA-256 of every other file, by name.
        account: what happened so far, see ``Account.state``.
        window: places in the unit's order of the images that a sliding window holds.
    """

    version: int = _VERSION
    fingerprint: str
    unit: str
    records: tuple[str, ...]
    retried: tuple[int, ...] = ()
    number: int
    done: int
    answers: int
    files: dict[str, str]
    account: dict[str, Any]
    window: tuple[int, ...] = ()

    @property
    def content(self) -> bytes:
        """The bytes of the file."""
        return self.model_dump_json().encode()


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as it is sent to whoever goes on with it.

    Attributes:
        index: what it is of.
        files: content of its other files, by name; each is what the index states.
    """

    index: CheckpointIndex
    files: Mapping[str, bytes]


def read_index(content: bytes) -> CheckpointIndex:
    """Read the content of an index.

    Raises:
        ValueError: when it is none, or of another version.
    """
    try:
        plain = json.loads(content)
        if plain["version"] != _VERSION:
            raise ValueError(f"it has version {plain['version']}, this version reads {_VERSION}")
        return CheckpointIndex.model_validate(plain)
    except (ValidationError, KeyError, TypeError) as error:
        raise ValueError(f"it is no index of a checkpoint ({type(error).__name__})") from None


def digest_of(content: bytes) -> str:
    """Return the SHA-256 of a file's content."""
    return hashlib.sha256(content).hexdigest()


def record_names(work: Work) -> tuple[str, ...]:
    """Return the files that a unit of work is recorded in, below the run folder."""
    return tuple(str(work.file_of(cell)) for cell in work.cells)


def retried_of(work: Work) -> tuple[int, ...]:
    """Return the positions of images that are tried again; see ``Shard.retried``."""
    return work.retried if isinstance(work, Shard) else ()


def checkpoint_name(work: Work) -> str:
    """Return the name of a unit's folder: the same in every process of a run, and of no other unit."""
    named = json.dumps([sorted(record_names(work)), retried_of(work)])
    return hashlib.sha256(named.encode()).hexdigest()[:16]
