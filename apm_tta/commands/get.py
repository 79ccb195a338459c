"""``run-bench get``: bring data sets from where they lie, resumed and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from apm_tta.commands.check import print_check, require_match
from apm_tta.commands.option_types import Text
from apm_tta.commands.options import data_root_option
from apm_tta.errors import UserError
from apm_tta.wording import first_few, visible

if TYPE_CHECKING:
    from apm_tta.data.cards import DatasetCard
    from apm_tta.data.check import CheckReport
    from apm_tta.download.get import Choice


@click.command("get", params=[data_root_option()], short_help="Download data sets, and check them.")
@click.argument("names", nargs=-1, required=True, type=Text("imagenet-a"), metavar="NAME...")
@click.option("--dry-run", is_flag=True, help="Show what would be fetched, from where and how large; fetch nothing.")
@click.option("--unpack", is_flag=True, help="Also unpack archives; otherwise they are read as they lie.")
@click.option("--only", multiple=True, type=Text("noise.tar"), help="A file, or a pattern of files; may be repeated.")
@click.option(
    "--mirror",
    "mirrors",
    multiple=True,
    type=Text("https://example.org/data"),
    help="Address of a folder with the files under their names, asked first; may be repeated.",
)
def get_command(
    names: tuple[str, ...],
    data_root: Path | None,
    dry_run: bool,
    unpack: bool,
    only: tuple[str, ...],
    mirrors: tuple[str, ...],
) -> None:
    """Download the data sets NAME... (see run-bench list datasets) below --data-root, and check them.

    The same command goes on where it was stopped, and fetches nothing that is there. What needs an account, a consent
    or a password is said step by step, and ends with exit code 2.
    """
    from apm_tta.data.cards import load_card
    from apm_tta.download.get import Choice

    cards = [load_card(name) for name in dict.fromkeys(names)]
    choice = Choice(only, mirrors, unpack)
    ends = [_get(card, data_root, choice, dry_run) for card in cards]
    if waiting := [card.name for card, end in zip(cards, ends, strict=True) if end.by_hand]:
        raise UserError(
            f"{first_few(waiting)} cannot be fetched by a program alone",
            2,
            advice="follow the steps above, and run the same command again",
        )
    if failed := [name for end in ends for name in end.failed]:
        raise UserError(
            f"{first_few(failed)} could not be fetched, for the reasons above",
            advice="run the same command again, or name another address with --mirror",
            passing=True,
        )
    for report in filter(None, (end.report for end in ends)):
        require_match(report)


@dataclass
class _End:
    """What came of one set: whether a person has to do something, what failed, and what the check found."""

    by_hand: bool = False
    failed: Sequence[str] = ()
    report: CheckReport | None = None


def _get(card: DatasetCard, data_root: Path | None, choice: Choice, dry_run: bool) -> _End:
    """Bring one set, or show what that would be."""
    from apm_tta.api.check import check_dataset
    from apm_tta.data.check import presence
    from apm_tta.data.data_root import resolve_data_root
    from apm_tta.download.get import describe, get, places
    from apm_tta.download.transfer import Persistence

    def say(line: str) -> None:
        click.echo(visible(line))

    root = resolve_data_root(card, data_root)
    found = places(card, root, choice) if root is not None else []
    if root is None and card.downloads:
        raise UserError("no folder given: use --data-root FOLDER, or set APM_TTA_DATA_ROOT", 2)
    for line in describe(card, found, dry_run):
        say(line)
    if root is None or not found:
        carried = presence(card, None) == "carried"
        say("  nothing to fetch: the package carries it" if carried else f"  by hand: {card.get}")
        return _End(by_hand=not carried and not dry_run)
    if dry_run:
        return _End()
    if all(place.is_new for place in found) and presence(card, root) == "found":
        report = check_dataset(card.name, root)
        if report.passed:
            say("  nothing to fetch: it is there, and run-bench check finds everything as expected")
            return _End()
    outcome = get(root, found, choice, say, Persistence())
    for line in outcome.by_hand:
        say(f"  by hand: {line}")
    for name, problem in outcome.failed.items():
        say(f"  not fetched: {name}: {problem}")
    if not outcome.complete:
        return _End(bool(outcome.by_hand), list(outcome.failed))
    if choice.only:
        say(f"  fetched in part, as chosen with --only; run-bench check {card.name} says what is missing")
        return _End()
    return _End(report=print_check(card.name, root))


COMMANDS = [get_command]
