"""Compare published zero-shot numbers with a run on a subset; where one is outside, try the usual causes."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

from apm_tta.data.cards import load_card
from apm_tta.data.data_root import resolve_data_root
from apm_tta.data.dataset import Dataset
from apm_tta.data.sample import Condition
from apm_tta.devices import resolve_device
from apm_tta.errors import UserError
from apm_tta.report.published_rows import PublishedRow, conditions, published_rows, read_rows, sentences
from apm_tta.teachers import Teacher, load_teacher
from apm_tta.verification.causes import CAUSES, Attempt
from apm_tta.verification.comparable import reasons_by_card, reasons_here
from apm_tta.verification.evaluation import Advance, Evaluation
from apm_tta.verification.setup import Case, NotApplicable, Setup, teacher_setup
from apm_tta.verification.verdict import RowVerdict, Tried, Verification, is_inside, published_accuracy
from apm_tta.wording import first_few

Metric = Literal["top1", "top5"]
_Images = tuple[str | None, tuple[Condition, ...]]
"""The subset, and the conditions under which it is seen."""
_Attempts = dict[Setup, tuple[str, Attempt]]
"""What is tried, each with the name of its cause."""
_PAIRS_SHOWN = 5
_SAME = {"top1": ("top1", "error"), "top5": ("top5",)}
_DEFAULT_TEMPLATES = {"ensemble": "openai80"}
_ZERO_SHOT = ("zeroshot", "ensemble", "source")
"""Published methods that are the teacher's own answers."""


def verify(
    teacher_name: str,
    dataset_name: str,
    limit: int,
    data_root: Path | None = None,
    metric: Metric = "top1",
    published: Path | None = None,
    device: str = "auto",
    advance: Advance = id,
) -> Verification:
    """Compare every published number of a teacher alone on a data set with the teacher's answers to a part of it.

    Args:
        teacher_name: see ``load_teacher``.
        dataset_name: name of a card.
        limit: images under each condition, evenly over the classes; 0 for all.
        data_root: see ``resolve_data_root``.
        metric: ``top1`` or ``top5``.
        published: a table in place of the package's; see ``read_rows``.
        device: see ``resolve_device``.
        advance: is told of encoded images.

    Raises:
        UserError: when nothing is published of the two, or the teacher or the images are not there.
    """
    card = load_card(dataset_name)
    rows = _rows(published_rows() if published is None else read_rows(published), teacher_name, card.name, metric)
    verdicts = {row: RowVerdict(row, "cannot be compared", tuple(reasons_by_card(row, card))) for row in rows}
    evaluations: dict[_Images, Evaluation] = {}
    if remaining := [row for row, verdict in verdicts.items() if not verdict.reasons]:
        root = resolve_data_root(card, data_root)
        datasets = {row.protocol.subset: Dataset(card, root, limit, subset=row.protocol.subset) for row in remaining}
        for row in remaining:
            datasets[row.protocol.subset].entries(conditions(card, row.protocol)[0])  # before weights are read
        teacher = load_teacher(teacher_name, resolve_device(device))
        for row in remaining:
            dataset, seen = datasets[row.protocol.subset], conditions(card, row.protocol)
            if reasons := reasons_here(row, dataset, teacher):
                verdicts[row] = RowVerdict(row, "cannot be compared", tuple(reasons))
                continue
            images = row.protocol.subset, seen
            if images not in evaluations:
                evaluations[images] = Evaluation(teacher, dataset, seen, 5 if metric == "top5" else 1, advance)
            verdicts[row] = _compare(row, dataset, teacher, evaluations[images])
    done = evaluations.values()
    return Verification(
        teacher_name,
        card.name,
        "; ".join(each.images for each in done) or "nothing was answered",
        tuple(verdicts.values()),
        sum(each.unread for each in done),
        tuple(dict.fromkeys(doubt for each in done for doubt in each.doubts)),
        sum(each.encoded for each in done),
    )


def _rows(rows: Sequence[PublishedRow], teacher: str, dataset: str, metric: Metric) -> list[PublishedRow]:
    """Find the rows of a teacher alone on a data set.

    Raises:
        UserError: when there is none, naming what there is. Exit code 2.
    """
    known = [row for row in rows if row.method in _ZERO_SHOT and row.metric in _SAME[metric]]
    found = [row for row in known if (row.teacher, row.datasets) == (teacher, (dataset,))]
    if not found:
        sets = sorted({row.datasets[0] for row in known if row.teacher == teacher and len(row.datasets) == 1})
        teachers = sorted({row.teacher for row in known if row.datasets == (dataset,)})
        there = [
            f"{what}: {first_few(names)}" for what, names in (("of it", sets), (f"on {dataset}", teachers)) if names
        ]
        raise UserError(
            f"no zero-shot {metric} of {teacher} on {dataset} is published here, so nothing can be compared"
            + (f"; there are {'; '.join(there)}" if there else ""),
            exit_code=2,
            advice="give one with --published FILE, a CSV with the columns teacher, dataset, value",
        )
    return found


def _compare(row: PublishedRow, dataset: Dataset, teacher: Teacher, evaluation: Evaluation) -> RowVerdict:
    start = _start(row, dataset, teacher)
    (tally,) = evaluation.tally([start])
    words = _in_words(start, row) if teacher.classifier == "text" else f"its own {teacher.classifier}"
    if is_inside(row, tally):
        return RowVerdict(row, "inside", (), words, tally)
    return _try_causes(RowVerdict(row, "outside", (), words, tally), Case(start, dataset), evaluation)


def _start(row: PublishedRow, dataset: Dataset, teacher: Teacher) -> Setup:
    """Return the setup of the row's own protocol."""
    names = dataset.classes
    if row.protocol.names == "underscored":
        names = tuple(name.replace(" ", "_") for name in names)
    templates = row.protocol.templates or _DEFAULT_TEMPLATES.get(row.method, "dataset")
    return teacher_setup(teacher, dataset, sentences(templates, dataset.template), names)


def _in_words(setup: Setup, row: PublishedRow) -> str:
    names = "underscores in class names" if row.protocol.names == "underscored" else "the data set's class names"
    if len(setup.templates) == 1:
        return f"the template {setup.templates[0]!r} and {names}"
    return f"{len(setup.templates)} templates ({row.protocol.templates or _DEFAULT_TEMPLATES[row.method]}) and {names}"


def _try_causes(verdict: RowVerdict, case: Case, evaluation: Evaluation) -> RowVerdict:
    """Try every cause by itself, and where none helps, pairs of them; return the verdict with what came of it."""
    attempts: _Attempts = {}
    untried = []
    with _without_remarks():
        for cause in CAUSES.names():
            try:
                found = CAUSES.get(cause)(case)
            except NotApplicable as error:
                untried.append(f"{cause}: {error}")
                continue
            for attempt in found:
                if attempt.setup == case.start or attempt.setup in attempts:
                    continue
                try:
                    evaluation.prepare(attempt.setup)
                except UserError as error:  # such as class names that make two prompts equal
                    untried.append(f"{attempt.what}: {error}")
                else:
                    attempts[attempt.setup] = (cause, attempt)
        tried = _tried(verdict.row, attempts, evaluation)
        pairs: list[Tried] = []
        if not any(each.inside for each in tried):
            pairs = _tried(verdict.row, _pairs(attempts, case.start, evaluation), evaluation)
    tried += [each for each in pairs if each.inside][:_PAIRS_SHOWN]
    return replace(verdict, tried=_nearest_first(verdict.row, tried), untried=tuple(untried), pairs=len(pairs))


def _tried(row: PublishedRow, attempts: _Attempts, evaluation: Evaluation) -> list[Tried]:
    """Count the answers of attempts, those that come nearest first."""
    counted = zip(attempts.values(), evaluation.tally(list(attempts)), strict=True)
    found = [Tried(cause, attempt.what, tally, is_inside(row, tally)) for (cause, attempt), tally in counted]
    return list(_nearest_first(row, found))


def _nearest_first(row: PublishedRow, tried: Sequence[Tried]) -> tuple[Tried, ...]:
    accuracy = published_accuracy(row)
    return tuple(sorted(tried, key=lambda each: (not each.inside, abs(each.tally.accuracy - accuracy))))


def _pairs(attempts: _Attempts, start: Setup, evaluation: Evaluation) -> _Attempts:
    """Join attempts at two causes, where that costs next to nothing; see ``Evaluation.is_cheap``."""
    found: _Attempts = {}
    for (cause, one), (other_cause, other) in itertools.combinations(attempts.values(), 2):
        setup = None if cause == other_cause else start.joined(one.setup, other.setup)
        if setup is None or setup in attempts or not evaluation.is_cheap(setup):
            continue
        with suppress(UserError):
            evaluation.prepare(setup)
            found[setup] = f"{cause} together with {other_cause}", Attempt(f"{one.what}; {other.what}", setup)
    return found


@contextmanager
def _without_remarks() -> Iterator[None]:
    """Keep quiet what teachers note of class names: nobody asked for those that are tried."""
    logger = logging.getLogger("apm_tta.teachers")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
