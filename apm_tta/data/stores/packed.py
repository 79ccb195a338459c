"""What ``run-bench pack`` states beside its shards, by which they are the tree that was packed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from pydantic import Field, ValidationError

from apm_tta.configuration import Configuration, one_line
from apm_tta.data.class_lists import ClassList
from apm_tta.errors import UserError
from apm_tta.system.files import is_file, read_regular

PACKED_FILE = "packed.json"


class PackedShard(Configuration):
    """One shard.

    Attributes:
        name: of its file.
        condition: of its images.
        images: how many they are.
        size: of the file, bytes.
        sha256: of the file.
    """

    name: str = Field(pattern=r"^[^/\\]+\.tar$")
    condition: str
    images: int
    size: int
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Packed(Configuration):
    """The content of ``packed.json``.

    Attributes:
        card: of the images.
        classes: their names, in label order.
        folders: names of their folders, likewise.
        fingerprints: of the ids and labels under each condition, in the tree's order; see ``Dataset.fingerprint``.
        shards: in the order of the images.
    """

    format: Literal["apm-tta shards 1"] = "apm-tta shards 1"
    card: str
    classes: tuple[str, ...]
    folders: tuple[str, ...]
    fingerprints: dict[str, str]
    shards: tuple[PackedShard, ...]

    @property
    def class_list(self) -> ClassList:
        """The classes in label order."""
        return ClassList(self.classes, self.folders)

    def to_bytes(self) -> bytes:
        """Write it as JSON."""
        return (json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n").encode()


def read_packed(folder: Path) -> Packed | None:
    """Read what is stated beside the shards in ``folder``; None where nothing is.

    Raises:
        UserError: when it is damaged.
    """
    path = folder / PACKED_FILE
    if not is_file(path):
        return None
    try:
        return Packed.model_validate_json(read_regular(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})", passing=True) from None
    except ValidationError as error:
        raise UserError(f"{path} is damaged ({one_line(error)}); pack again") from None


def member_name(sample_id: str) -> str:
    """Return under which name an image is packed: its id, with dots before the suffix as ``%2E``.

    What webdataset takes for an image's key ends at the first dot.
    """
    folder, slash, name = sample_id.rpartition("/")
    stem, dot, suffix = name.rpartition(".")
    return f"{folder}{slash}{stem.replace('%', '%25').replace('.', '%2E')}{dot}{suffix}"


def packed_id(member: str) -> str:
    """Return the id of what was packed under that name."""
    folder, slash, name = member.rpartition("/")
    return f"{folder}{slash}{unquote(name)}"


def key_of(member: str) -> tuple[str, str]:
    """Split a member's name as webdataset does: key and, in lower case, suffix."""
    folder, slash, name = member.rpartition("/")
    stem, _, suffix = name.partition(".")
    return f"{folder}{slash}{stem}", suffix.lower()
