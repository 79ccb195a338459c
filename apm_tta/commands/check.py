"""``run-bench check``: a data set on disk against its card."""

from __future__ import annotations

from pathlib import Path

import click

from apm_tta.commands.options import data_root_option
from apm_tta.errors import UserError


@click.command(
    "check", params=[data_root_option()], short_help="Compares a data set on disk with what is expected of it."
)
@click.argument("name")
@click.option("--deep", is_flag=True, help="Decode every image, and compare published digests.")
def check_command(name: str, data_root: Path | None, deep: bool) -> None:
    """Counts the data set NAME (see run-bench list datasets), and says what is missing, surplus or unreadable."""
    from tqdm import tqdm

    from apm_tta.data.cards import load_card
    from apm_tta.data.check import check
    from apm_tta.data.data_root import resolve_data_root

    card = load_card(name)
    found = resolve_data_root(card, data_root)
    report = check(card, found, deep, lambda entries, total: tqdm(entries, total=total, leave=False, disable=None))
    click.echo("\n".join(report.lines()))
    if not report.right:
        raise UserError(f"{name} is not as it has to be: {len(report.problems)} problems, listed above")


COMMANDS = [check_command]
