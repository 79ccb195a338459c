"""``run-bench status``: how far a run is."""

from __future__ import annotations

import time
from pathlib import Path

import click

from apm_tta.commands.option_types import NamedPath

_EVERY_S = 10.0


@click.command("status", short_help="Show how far a run is, while it is computed or after it was stopped.")
@click.argument("run", type=NamedPath())
@click.option("--watch", is_flag=True, help="Show it again every 10 seconds until the run ends.")
def status_command(run: Path, watch: bool) -> None:
    """Show what of RUN is done and left by method, at which rate, on which machines, and what could not be read.

    Only the folder is read, and nothing in it is changed: the run may go on meanwhile, on another machine too.
    """
    from apm_tta.harness.status import StatusReader

    reader = StatusReader(run)
    status = reader.read()
    click.echo(status.text())
    while watch and status.running:
        time.sleep(_EVERY_S)
        status = reader.read()
        click.clear()  # on a terminal only
        click.echo(status.text())


COMMANDS = [status_command]
