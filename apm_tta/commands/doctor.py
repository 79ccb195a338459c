"""``run-bench doctor``: what is here, what is missing, and for what."""

from __future__ import annotations

import os
from pathlib import Path

import click

from apm_tta.commands.option_types import Text
from apm_tta.commands.options import data_root_option
from apm_tta.errors import DAMAGED, UserError
from apm_tta.known_names import suite_names
from apm_tta.wording import pluralise


@click.command(
    "doctor", params=[data_root_option()], short_help="Show what is on this machine, what is missing, and for what."
)
@click.argument("suites", type=Text("demo", suite_names), nargs=-1)
def doctor_command(suites: tuple[str, ...], data_root: Path | None) -> None:
    """Show versions, devices, free memory and disk, caches, and which data sets lie below the data root.

    Of the SUITES that are named, data and weights have to be there: exit code 3 if not. Nothing is downloaded.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"  # before the hub's library is imported, which reads it then
    from apm_tta.api.doctor import examine

    found = examine(suites, data_root)
    click.echo("\n".join(found.lines()))
    if found.missing:
        missing = pluralise(len(found.missing), "thing")
        raise UserError(f"{missing} missing of what was asked for: {found.missing[0]}", exit_code=DAMAGED)


COMMANDS = [doctor_command]
