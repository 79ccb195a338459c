"""``run-bench merge``: merge the parts of one run."""

from __future__ import annotations

from pathlib import Path

import click

from apm_tta.commands.option_types import NamedPath
from apm_tta.errors import UserError


@click.command("merge", short_help="Merge the parts of one run that --shard-range made.")
@click.argument("parts", type=NamedPath(), nargs=-1, required=True)
@click.option("--out", type=NamedPath(), required=True, help="Run folder to merge into.")
def merge_command(parts: tuple[Path, ...], out: Path) -> None:
    """Copy the records of the run folders PARTS into one run folder, and print its tables.

    The parts must belong to one run: the same suite, data, teacher, methods, seeds and versions. To compute what is
    still missing afterwards, rerun the run's own command with --out.
    """
    from apm_tta.api.run_folder import merge
    from apm_tta.wording import pluralise

    run = merge(parts, out)
    click.echo(f"merged {pluralise(len(parts), 'part')} into {out}")
    report = run.report()
    click.echo(report.text)
    if report.unwritten:
        raise UserError(report.unwritten)


COMMANDS = [merge_command]
