"""What a card states of the files that a data set is downloaded as: each fact with whoever states it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from apm_tta.configuration import Configuration

FILE = "{file}"
"""Stands in an address for the name of the file."""

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def _below(text: str) -> str:
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or "\\" in text or "\0" in text:
        raise ValueError("must be a path below the data root, such as imagenet-c/noise.tar")
    return text


Digest = Annotated[str, StringConstraints(pattern=r"^(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64})$")]
Address = Annotated[str, StringConstraints(pattern=r"^(https?|hf)://[^\s]+$")]
Below = Annotated[str, AfterValidator(_below)]
Origin = Annotated[str, StringConstraints(min_length=1)]


class Download(Configuration):
    """One file that belongs to a data set, or several whose names differ in a part.

    Attributes:
        name: of the file; ``{a,b}`` and ``{00..99}`` stand for several, as in a shell.
        folder: below the data root, into which the file goes and is unpacked.
        addresses: where it lies, the first of them asked first, the others where that fails. ``{file}`` stands for its
            name. ``hf://datasets/OWNER/NAME`` is a whole repository of Hugging Face, and ``name`` then the pattern of
            its files that are wanted, such as ``*.parquet``.
        bytes: its size, where it is known.
        digests: each with who states it; empty where nobody does.
        stated_by: who states addresses and size: the code, record or page they were read in.
        contains: digests of files within it, by their path below the folder in which the tree starts, as ``digests``.
        nested: archives within it that are unpacked too, by their path below ``folder``.
        steps: what a person has to do to get it, where no program may or can: accept terms, log in, know a password.
    """

    name: Below
    folder: Below = ""
    addresses: tuple[Address, ...] = ()
    bytes: int | None = Field(default=None, gt=0)
    digests: dict[Digest, Origin] = Field(default_factory=dict)
    stated_by: Origin
    contains: dict[Below, dict[Digest, Origin]] = Field(default_factory=dict)
    nested: tuple[Below, ...] = ()
    steps: str = ""

    @model_validator(mode="after")
    def _check_consistency(self) -> Download:
        if not self.addresses and not self.steps:
            raise ValueError("must have addresses, or steps where there are none")
        if len(self.digests) != len({text.partition(":")[0] for text in self.digests}):
            raise ValueError("digests: one of each kind")
        several = _BRACES.search(self.name) is not None
        if several and (self.bytes or self.digests or self.contains):
            raise ValueError("a size or a digest belongs to one file, and the name stands for several")
        if several and not all(FILE in address for address in self.addresses):
            raise ValueError("addresses: must have {file} in them, since the name stands for several files")
        if any(self.is_repository(address) for address in self.addresses) and len(self.addresses) > 1:
            raise ValueError("addresses: a whole repository has no mirrors")
        return self

    @staticmethod
    def is_repository(address: str) -> bool:
        """Return whether an address is that of a whole repository."""
        return address.startswith("hf://")

    @property
    def by_hand(self) -> bool:
        """Whether a person has to get it."""
        return bool(self.steps)

    def files(self, wanted: Callable[[str], bool] = lambda _: True) -> Iterator[Download]:
        """Return it once for every file that its name stands for; there may be too many for a list.

        Args:
            wanted: tells by its name below the data root whether a file is returned.
        """
        for name in _expanded(self.name):
            if wanted(str(PurePosixPath(self.folder, name))):
                yield self.model_copy(update={"name": name, "addresses": self._addresses(name)})

    def _addresses(self, name: str) -> tuple[str, ...]:
        return tuple(address.replace(FILE, name) for address in self.addresses)


def _expanded(name: str) -> Iterator[str]:
    """Return the names that one with braces stands for, in a shell's order."""
    parts = _BRACES.split(name)  # text, braces, text, braces, text
    for words in itertools.product(*(_words(inside) for inside in parts[1::2])):
        yield "".join(text + word for text, word in itertools.zip_longest(parts[::2], words, fillvalue=""))


def _words(inside: str) -> list[str]:
    if found := _RANGE.fullmatch(inside):
        first, last = found.groups()
        return [f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1)]
    return inside.split(",")
