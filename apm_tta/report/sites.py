"""Where the shards of a report were computed: timings of one site, or of one batch size, are not those of another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from apm_tta.harness.storage.record_header import RecordHeader
from apm_tta.harness.storage.site import Site

SEPARATOR = "; "


def join_distinct(texts: Iterable[str]) -> str:
    """Join texts, which may be joined ones, each once and in the order of their first appearance."""
    return SEPARATOR.join(dict.fromkeys(part for text in texts for part in text.split(SEPARATOR) if part))


def hardware(headers: Sequence[RecordHeader]) -> str:
    """Return the hardware on which files of records were computed, each kind once."""
    return join_distinct(site.hardware for header in headers for site in header.sites)


def batch_sizes(headers: Sequence[RecordHeader]) -> str:
    """Return the batch sizes at which files of records were computed, ascending."""
    return SEPARATOR.join(map(str, sorted({size for header in headers for size in header.batch_sizes})))


def is_pooled(*texts: str) -> bool:
    """Return whether one of the results of ``hardware`` or ``batch_sizes`` names several."""
    return any(SEPARATOR in text for text in texts)


def varies(texts: Iterable[str]) -> bool:
    """Return whether a column of such results names more than one."""
    distinct = set(texts)
    return len(distinct) > 1 or is_pooled(*distinct)


@dataclass(frozen=True)
class Sites:
    """Where the records of one or several files were computed.

    Attributes:
        distinct: sites that differ in more than the time, each with its earliest start, in that order.
        latest: start of the shard that was begun last.
        by_method: batch sizes in words, by method.
    """

    distinct: tuple[Site, ...]
    latest: str
    by_method: dict[str, str]

    @property
    def commits(self) -> list[str]:
        """Return the commits of the code that computed them, in short; with its digest where it is of none."""
        return list(dict.fromkeys(site.code for site in self.distinct))

    @property
    def hardware(self) -> list[str]:
        """Return the kinds of hardware that computed them."""
        return list(dict.fromkeys(site.hardware for site in self.distinct))

    def text(self) -> str:
        """Name commits, hardware, time, and batch sizes where a method had several."""
        commits = self.commits
        earliest = min(site.started for site in self.distinct)
        several = len(self.distinct) > 1 and self.latest != earliest
        pooled = _by_size({name: sizes for name, sizes in self.by_method.items() if is_pooled(sizes)})
        noun = "commit" if len(commits) == 1 else "commits"
        return (
            f"{noun} {', '.join(commits)}; {SEPARATOR.join(self.hardware)}, {earliest}"
            f"{f' to {self.latest}' if several else ''}{f'; batch sizes {pooled}' if pooled else ''}"
        )

    def batch_sizes_text(self) -> str:
        """Name the batch sizes of the methods: one where all have the same."""
        sizes = set(self.by_method.values())
        return _and(*sizes) if len(sizes) == 1 else _by_size(self.by_method)


def sites_of(headers: Iterable[tuple[str, RecordHeader]]) -> Sites:
    """Summarise the headers of files of records, each given with its method."""
    distinct: dict[Site, Site] = {}
    latest = ""
    by_method: dict[str, list[RecordHeader]] = {}
    for method, header in headers:
        for site in header.sites:
            timeless = site.model_copy(update={"started": ""})
            if timeless not in distinct or site.started < distinct[timeless].started:
                distinct[timeless] = site
            latest = max(latest, site.started)
        by_method.setdefault(method, []).append(header)
    ordered = sorted(distinct.values(), key=lambda site: (site.started, site.hardware))
    return Sites(tuple(ordered), latest, {name: batch_sizes(own) for name, own in by_method.items()})


def _by_size(by_method: dict[str, str]) -> str:
    methods: dict[str, list[str]] = {}
    for method, sizes in by_method.items():
        methods.setdefault(sizes, []).append(method)
    return ", ".join(f"{_and(sizes)} ({', '.join(names)})" for sizes, names in methods.items())


def _and(sizes: str) -> str:
    return " and ".join(sizes.split(SEPARATOR))
