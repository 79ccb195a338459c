"""``run-bench cite``: the BibTeX of what a run used."""

from __future__ import annotations

from pathlib import Path

import click

from apm_tta.commands.option_types import NamedPath


@click.command("cite", short_help="Print the BibTeX of what a run used: methods, data sets, teacher, this program.")
@click.argument("run", type=NamedPath())
def cite_command(run: Path) -> None:
    """Print the BibTeX of exactly what RUN used: this program, its methods, data sets, corruptions and its teacher."""
    from apm_tta.harness.storage.manifest_file import read_manifest
    from apm_tta.report.citations import cite

    click.echo(cite(read_manifest(run)))


COMMANDS = [cite_command]
