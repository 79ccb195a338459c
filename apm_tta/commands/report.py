"""``run-bench report`` and ``run-bench compare``: tables of existing runs."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from apm_tta.commands.option_types import NamedPath, OneOf, RunPlace, Text, Whole
from apm_tta.commands.options import FINE
from apm_tta.errors import UserError
from apm_tta.harness.request.limits import MOST_ISLANDS

if TYPE_CHECKING:
    from apm_tta.report import Report

_FOLDER = NamedPath()


@click.command("report", short_help="Rebuild the tables of run folders; of several, one common table.")
@click.argument("runs", type=RunPlace(), nargs=-1, required=True)
@click.option(
    "--out",
    type=_FOLDER,
    help="Folder for the common table of several runs, or for the report of one that lies elsewhere.",
)
@click.option("--partial", is_flag=True, help="Show the complete cells of an incomplete run.")
@click.option(
    "--islands",
    type=Whole(0, MOST_ISLANDS, 4),
    default=0,
    help="Number of images whose islands report.html shows; the APM is fitted to them again. One run only.",
)
@click.option("--resolution", type=Whole(2, 2048, 56), help="Locations per side of the islands.  [default: the APM's]")
@click.option("--fine", type=OneOf(FINE), help="Way to features between their locations.  [default: bilinear]")
@click.option("--allow-code", is_flag=True, help="With --islands: let a teacher module:... import and run that code.")
@click.option("--yes", is_flag=True, help="Draw islands that are estimated to take more than ten minutes.")
@click.option(
    "--ablation",
    type=Text("apm"),
    help="Print and write one table instead: this row beside its variants with one other parameter. One run only.",
)
@click.option(
    "--select",
    type=OneOf(["entropy", "none"]),
    help="Print and write one table instead: of each method's rows the one that entropy chooses, or none, and the one "
    "that labels do. One run only.",
)
def report_command(runs: tuple[str, ...], out: Path | None, **options: Any) -> None:
    """Rebuild the tables of the run folder RUNS from its records and print them.

    Several run folders, of one teacher on several data sets, make one table of methods by data set. A run may lie in an
    archive (zip, tar) or on an object store (s3://bucket/run): it is only read, and --out takes its report.
    """
    from apm_tta.report.run_places import copy_written, local_run

    with ExitStack() as stack:
        places = [stack.enter_context(local_run(run)) for run in runs]
        elsewhere = len(places) == 1 and places[0].copied
        report = _report(tuple(place.folder for place in places), None if elsewhere else out, **options)
        if report is not None and elsewhere and out is not None:
            copy_written(report.files, places[0].folder, out)
        elif elsewhere:
            click.echo(f"run-bench: nothing is written into {runs[0]}; --out FOLDER takes the report", err=True)


def _report(
    runs: tuple[Path, ...],
    out: Path | None,
    partial: bool,
    islands: int,
    resolution: int | None,
    fine: str | None,
    allow_code: bool,
    yes: bool,
    ablation: str | None,
    select: str | None,
) -> Report | None:
    """Print what is asked for, and return the report of one run, where that was written."""
    if allow_code and not islands:
        raise UserError("--allow-code has no effect without --islands: nothing else runs the teacher", exit_code=2)
    if (ablation is not None or select is not None) and (len(runs) > 1 or out is not None or partial or islands):
        option = "--select" if ablation is None else "--ablation"
        raise UserError(f"{option} is of one complete run, and takes no other option", exit_code=2)
    if (resolution is not None or fine is not None) and not islands:
        raise UserError("--resolution and --fine are of islands: add --islands and their number", exit_code=2)
    if ablation is not None:
        if select is not None:
            raise UserError("--ablation and --select are two tables; ask for one after the other", exit_code=2)
        from apm_tta.report.ablation import ablate, write_ablation

        click.echo(write_ablation(ablate(runs[0], ablation)))
        return None
    if select is not None:
        from apm_tta.report import selection

        click.echo(selection.write_selection(selection.select(runs[0], cast(Any, select))))
        return None
    if len(runs) == 1 and out is None:
        from apm_tta.api.run_folder import open_run

        way: Any = fine or "bilinear"
        drawn: Any = {"islands": islands, "resolution": resolution, "fine": way, "allow_code": allow_code, "long": yes}
        report = open_run(runs[0], partial).report(**drawn)
        click.echo(report.text)
        if report.unwritten:
            click.echo(f"run-bench: {report.unwritten}", err=True)
        return report
    from apm_tta.report.papers import write_papers_tables

    if len(runs) == 1 or out is None:
        raise UserError("several runs need --out FOLDER for their common table; one run takes none", exit_code=2)
    click.echo(write_papers_tables(runs, out))
    return None


@click.command("compare", short_help="Compare two runs image by image.")
@click.argument("run_a", type=RunPlace())
@click.argument("run_b", type=RunPlace())
@click.option("--csv", "csv_file", type=_FOLDER, help="Also write the rows to this file.")
def compare_command(run_a: str, run_b: str, csv_file: Path | None) -> None:
    """Print the difference RUN_B minus RUN_A for every condition and method that both have, with interval and p.

    Either may lie in an archive (zip, tar) or on an object store (s3://bucket/run).
    """
    from apm_tta.api.run_folder import compare
    from apm_tta.report.compare import comparison_text
    from apm_tta.report.render import csv_text
    from apm_tta.report.run_places import local_run
    from apm_tta.system.files import write_output

    with local_run(run_a) as a, local_run(run_b) as b:
        table = compare(a.folder, b.folder)
        if csv_file is not None:
            write_output(csv_file, csv_text(table).encode())
        click.echo(comparison_text(a.folder, b.folder, table, (run_a, run_b)))


COMMANDS = [report_command, compare_command]
