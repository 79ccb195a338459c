"""``run-bench report``: tables of finished runs."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("report", short_help="Makes the tables of a run folder again.")
@click.argument("run", type=click.Path(path_type=Path))
def report_command(run: Path) -> None:
    """Makes the tables of the run folder RUN from its records, and prints them."""
    from apm_tta.report import write_report

    click.echo(write_report(run).text)


COMMANDS = [report_command]
