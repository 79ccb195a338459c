"""``run-bench check``: compare a data set on disk with its card."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from apm_tta.commands.option_types import Text
from apm_tta.commands.options import data_root_option
from apm_tta.errors import UserError
from apm_tta.known_names import dataset_names
from apm_tta.wording import pluralise, visible

if TYPE_CHECKING:
    from apm_tta.data.check import CheckReport
    from apm_tta.data.layouts import Entry


@click.command("check", params=[data_root_option()], short_help="Compare a data set on disk with its card.")
@click.argument("name", type=Text("imagenet", dataset_names))
@click.option("--deep", is_flag=True, help="Also decode every image and compare published digests.")
def check_command(name: str, data_root: Path | None, deep: bool) -> None:
    """Check the data set NAME (see run-bench list datasets), and report what is missing, surplus or unreadable."""
    require_match(print_check(name, data_root, deep))


def print_check(name: str, data_root: Path | None, deep: bool = False) -> CheckReport:
    """Check a data set and print the report."""
    from apm_tta.api.check import check_dataset
    from apm_tta.system.bars import bar

    def show_progress(entries: Iterator[Entry], total: int) -> Iterable[Entry]:
        return bar(entries, total=total)

    report = check_dataset(name, data_root, deep, show_progress)
    click.echo("\n".join(map(visible, report.lines())))
    return report


def require_match(report: CheckReport) -> None:
    """Refuse what no run can use.

    Raises:
        UserError: when there is a problem.
    """
    if not report.passed:
        problems = pluralise(len(report.problems), "problem")
        raise UserError(f"{report.card.name} does not match its card: {problems}, listed above")


COMMANDS = [check_command]
