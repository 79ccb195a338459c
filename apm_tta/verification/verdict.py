"""What came of comparing published numbers with a run, as data and in lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from tabulate import tabulate

from apm_tta.errors import DAMAGED
from apm_tta.report.published_rows import PublishedRow
from apm_tta.verification.evaluation import Tally
from apm_tta.verification.interval import ALLOWANCE, CONFIDENCE
from apm_tta.wording import pluralise

Outcome = Literal["inside", "outside", "cannot be compared"]


@dataclass(frozen=True)
class Tried:
    """One attempt at an explanation.

    Attributes:
        cause: name of its cause.
        what: it is, in words.
        tally: the answers with it.
        inside: whether they are compatible with the published number.
    """

    cause: str
    what: str
    tally: Tally
    inside: bool


@dataclass(frozen=True)
class RowVerdict:
    """What came of one published number.

    Attributes:
        row: it.
        outcome: the comparison's.
        reasons: why it cannot be compared; one phrase each.
        protocol: with what images were answered, in words.
        tally: the answers; None where it cannot be compared.
        tried: where it is outside, every attempt at one cause, those first that come nearest; where none of these
            brings it inside, also the nearest pairs that do.
        untried: where it is outside, what could not be tried, each with the reason.
        pairs: number of pairs that were tried.
    """

    row: PublishedRow
    outcome: Outcome
    reasons: tuple[str, ...] = ()
    protocol: str = ""
    tally: Tally | None = None
    tried: tuple[Tried, ...] = ()
    untried: tuple[str, ...] = ()
    pairs: int = 0

    @property
    def explanations(self) -> tuple[Tried, ...]:
        """The attempts that bring it inside, the nearest first."""
        return tuple(each for each in self.tried if each.inside)


def published_accuracy(row: PublishedRow) -> float:
    """Return the published accuracy, percent; of an error, its complement."""
    return 100 - float(row.value) if row.metric == "error" else float(row.value)


def is_inside(row: PublishedRow, tally: Tally) -> bool:
    """Return whether the published number, with its rounding and ``ALLOWANCE``, reaches into the interval."""
    margin = row.rounding + ALLOWANCE
    low, high = tally.interval
    return low - margin <= published_accuracy(row) <= high + margin


@dataclass(frozen=True)
class Verification:
    """What ``run-bench verify`` found.

    Attributes:
        teacher: name.
        dataset: name of the card.
        images: which images were answered, in words.
        rows: one per published number.
        unread: number of images that could not be read.
        notes: what may not be as meant of the images, one line each.
        encoded: number of images that were encoded, each under every setup that needed it.
    """

    teacher: str
    dataset: str
    images: str
    rows: tuple[RowVerdict, ...]
    unread: int = 0
    notes: tuple[str, ...] = ()
    encoded: int = field(default=0, compare=False)

    @property
    def exit_code(self) -> int:
        """0: inside, all that can be compared; 3: one is outside; 2: none can be compared."""
        outcomes = [each.outcome for each in self.rows]
        return DAMAGED if "outside" in outcomes or self.unread else 0 if "inside" in outcomes else 2

    @property
    def summary(self) -> str:
        """One line on what is not as published; empty where all is."""
        count = {outcome: sum(each.outcome == outcome for each in self.rows) for outcome in get_args(Outcome)}
        of = f"of {pluralise(len(self.rows), 'published number')} of {self.teacher} on {self.dataset}"
        if count["outside"]:
            return f"{count['outside']} {of} {'is' if count['outside'] == 1 else 'are'} outside the interval, see above"
        if not count["inside"]:
            return f"none {of} can be compared with a run here, see above"
        return f"{pluralise(self.unread, 'image')} could not be read" if self.unread else ""

    def lines(self) -> list[str]:
        """Return what the command prints."""
        head = [f"{self.teacher} on {self.dataset}: {self.images}"]
        head += [f"note: {note}" for note in self.notes]
        return [*head, *(line for verdict in self.rows for line in ("", *_lines(verdict)))]


def _lines(verdict: RowVerdict) -> Iterator[str]:
    row = verdict.row
    yield f"{row.source}: {row.method}, {row.metric} {row.value} %"
    if verdict.tally is None:
        yield from (f"  cannot be compared: {reason}" for reason in verdict.reasons)
        return
    low, high = verdict.tally.interval
    yield f"  with {verdict.protocol}"
    yield (
        f"  here {verdict.tally.accuracy:.2f} % of {verdict.tally.images:,} images; of all {verdict.tally.available:,} "
        f"between {low:.2f} and {high:.2f} % ({100 * CONFIDENCE:.0f} % interval)"
    )
    margin = row.rounding + ALLOWANCE
    yield f"  {verdict.outcome}: published {published_accuracy(row):.{_digits(row)}f} % ± {margin:.3g}"
    if verdict.outcome == "outside":
        yield from _explained(verdict)


def _explained(verdict: RowVerdict) -> Iterator[str]:
    found = verdict.explanations
    if found:
        causes = list(dict.fromkeys(each.cause for each in found))
        alone = "no single cause brings it inside; " if verdict.pairs else ""
        yield f"  {alone}inside with another choice of {_listed(causes)}; nearest: {found[0].what}"
    else:
        pairs = f", nor does any of {pluralise(verdict.pairs, 'pair')} of them" if verdict.pairs else ""
        yield f"  none of the usual causes brings it inside{pairs}"
    rows = [
        (each.cause, each.what, f"{each.tally.accuracy:.2f}", "inside" if each.inside else "outside")
        for each in verdict.tried
    ]
    alignment = ("left", "left", "right", "left")
    heads = ["tried", "", "here %", ""]
    table = tabulate(rows, heads, tablefmt="presto", disable_numparse=True, colalign=alignment)
    yield from (f"  {line}".rstrip() for line in table.splitlines())
    yield from (f"  not tried: {each}" for each in verdict.untried)


def _listed(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def _digits(row: PublishedRow) -> int:
    return len(row.value.partition(".")[2])
