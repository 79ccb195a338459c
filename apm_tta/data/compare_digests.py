"""Compare the files of a data set with the digests that its card states, and with those computed when they came."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from apm_tta.data.cards import DatasetCard
from apm_tta.data.file_digests import Records, compute_digests, wrong_digest
from apm_tta.data.files import is_file, read_whole, size_of
from apm_tta.errors import UserError, describe_error
from apm_tta.wording import pluralise

_AT_ONCE = 1 << 24


def compare_digests(
    card: DatasetCard, place: Path, data_root: Path, archives: Iterable[Path], packed: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """Read every file that has a digest and exists.

    Args:
        card: of the data set.
        place: where the tree starts.
        data_root: in which, or below which, the tree lies.
        archives: from which images are read.
        packed: digests below ``place`` that were stated when the images were packed; see ``Layout.checksums``.

    Returns:
        Problems, one line each; and notes on how many were compared.
    """
    problems, stated, compared, seen = [], 0, 0, set()
    for candidates, digests in _stated(card, place, data_root, archives):
        stated += 1
        if (path := next(filter(is_file, candidates), None)) is None:
            continue
        compared += 1
        seen.add(path)
        problems += _compared(path, digests)
    recorded = 0
    for folder in {data_root / download.folder: None for download in card.downloads}:
        for record in Records(folder).by_name.values():
            path = folder / record.name
            if path in seen or not path.is_file():
                continue
            seen.add(path)
            recorded += 1
            problems += _compared(path, {f"sha256:{record.sha256}": "computed when it was downloaded"})
    notes = [f"published digests compared: {compared} of {stated}"] if stated else []
    if recorded:
        files = pluralise(recorded, "file")
        notes.append(f"{files} without a published digest compared with what was computed at the download")
    for name, digest in packed.items():
        problems += _compared(place / name, {digest: "computed when it was packed"})
    if packed:
        notes.append(f"{pluralise(len(packed), 'shard')} compared with what was computed at packing")
    return problems, notes


def _compared(path: Path, digests: dict[str, str]) -> list[str]:
    try:
        wrong = wrong_digest(digests, compute_digests(_chunks(path), {text.partition(":")[0] for text in digests}))
    except (OSError, UserError) as error:
        return [f"{path} cannot be read ({describe_error(error)})" if isinstance(error, OSError) else str(error)]
    return [f"{path} {wrong}; download it again"] if wrong else []


def _chunks(path: Path) -> Iterator[bytes]:
    """Read a file, on disk or in an archive."""
    size = size_of(path)
    for start in range(0, size, _AT_ONCE):
        yield read_whole(path, start, min(_AT_ONCE, size - start))


def _stated(
    card: DatasetCard, place: Path, data_root: Path, archives: Iterable[Path]
) -> Iterator[tuple[list[Path], dict[str, str]]]:
    """Return the digests that the card states of one file each, with the places where the file may lie."""
    read = list(archives)
    for download in card.downloads:
        if download.digests:
            name = download.name
            used = [archive for archive in read if archive.name == name]
            yield [*used, data_root / download.folder / name, place / name, data_root / name], download.digests
        for inside, digests in download.contains.items():
            yield [place / inside], digests
