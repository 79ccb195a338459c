"""What every file of records says of itself: the run, cell and shard that it belongs to, and where it was computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import TypeAdapter, ValidationError

from apm_tta.configuration import Configuration
from apm_tta.harness.quietness import Clocks
from apm_tta.harness.storage.site import Site

_KEY, _OTHERS = b"apm_tta", b"apm_tta_others"
"""Of the Parquet metadata, which other readers of the file leave alone: the header, and those of a compact file."""


class RecordHeader(Configuration):
    """Stated in the metadata of a file of records.

    Attributes:
        fingerprint: of what its numbers depend on; see ``Numbers.fingerprint``.
        file: the path below the run folder at which it was recorded: it names method, condition, setting, seed, shard.
        site: where it was computed.
        batch_sizes: how many images the method was given at once, ascending; several where memory ran out meanwhile.
        unit: the shard or stream that it was answered in, in words: its other files state the same warnings.
        remarks: how many of its images were read with which remark; see ``ReadImage.remarks``.
        warnings: what libraries warned of while the unit was answered, and how often.
        setup_warnings: likewise, while the process that answered it prepared the run.
        renewed: where images were answered that could not be read at first, of other sites than ``site``.
        stream_unread: of a stream, a digest of the images that could not be read in all of it: the same in all of its
            files, since each answer depends on the images before it; empty for none, and in a shard.
        clocks: by which it is known whether something else ran meanwhile; None where they were not read, as in records
            of earlier versions. Of a file whose rows were renewed, those of its first rows.
    """

    fingerprint: str
    file: str
    site: Site
    batch_sizes: tuple[int, ...]
    unit: str
    remarks: dict[str, int]
    warnings: dict[str, int]
    setup_warnings: dict[str, int]
    renewed: tuple[Site, ...] = ()
    stream_unread: str = ""
    clocks: Clocks | None = None

    @property
    def sites(self) -> tuple[Site, ...]:
        """Where its rows were computed."""
        return (self.site, *self.renewed)

    def as_metadata(self) -> dict[bytes, bytes]:
        """Return the header as Parquet metadata."""
        return {_KEY: self.model_dump_json().encode()}


def read_header(metadata: Mapping[bytes, bytes]) -> RecordHeader | None:
    """Return the header in a file's Parquet metadata; None where there is none that can be read."""
    try:
        return RecordHeader.model_validate_json(metadata[_KEY])
    except (KeyError, ValidationError):
        return None


def as_metadata(headers: Sequence[RecordHeader]) -> dict[bytes, bytes]:
    """Return the headers of the files whose rows a file has, in order, as its Parquet metadata."""
    first, *others = headers
    return {**first.as_metadata(), **({_OTHERS: _HEADERS.dump_json(others)} if others else {})}


def stated_headers(metadata: Mapping[bytes, bytes]) -> tuple[RecordHeader, ...]:
    """Return the headers in a file's Parquet metadata; none where one of them cannot be read."""
    first = read_header(metadata)
    try:
        others = _HEADERS.validate_json(metadata.get(_OTHERS, b"[]"))
    except ValidationError:
        return ()
    return () if first is None else (first, *others)


_HEADERS = TypeAdapter(list[RecordHeader])
