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

    The parts must belong to one run: the same suite, data, teacher, methods, seeds and versions, and the same plan. Of
    parts that are missing or incomplete it prints the commands that compute them.
    """
    from apm_tta.api.run_folder import open_run
    from apm_tta.harness.storage.merge import merge
    from apm_tta.wording import first_few, pluralise

    merged = merge(out, parts)
    click.echo(f"merged {pluralise(len(parts), 'part')} into {out}")
    for line in (*merged.remarks, *merged.lacking):
        click.echo(str(line))
    if merged.lacking:
        lacking = first_few([f"{number} of {count}" for number, count in (each.part for each in merged.lacking)])
        raise UserError(
            f"{out} is incomplete: it lacks part {lacking}",
            advice="compute what is missing by the commands above, then merge it into the same folder",
        )
    report = open_run(out).report()
    click.echo(report.text)
    if report.unwritten:
        raise UserError(report.unwritten)


COMMANDS = [merge_command]
