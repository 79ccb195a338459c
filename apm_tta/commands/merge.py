"""``run-bench merge``: parts of one run as one run."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("merge", short_help="Joins the parts of one run that --shard-range made.")
@click.argument("parts", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Run folder of the whole.")
def merge_command(parts: tuple[Path, ...], out: Path) -> None:
    """Copies the records of the run folders PARTS into one run folder, and prints its tables.

    The parts must be of one run: the same suite, data, teacher, methods, seeds and versions. What is still missing
    then is computed by the run's own command with --out.
    """
    from apm_tta.harness.storage.merge import merge
    from apm_tta.report import write_report

    copied = merge(out, parts)
    click.echo(f"{copied} files of records from {len(parts)} parts: {out}")
    click.echo(write_report(out).text)


COMMANDS = [merge_command]
