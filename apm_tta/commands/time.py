"""``run-bench time``: measure the times of a finished run again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from apm_tta.commands.option_types import NamedPath, Text
from apm_tta.commands.options import data_root_option
from apm_tta.errors import DAMAGED, UserError

if TYPE_CHECKING:
    from tqdm import tqdm

    from apm_tta.harness.request.run_request import RunRequest


@click.command(
    "time", params=[data_root_option()], short_help="Measure a finished run's times again, on a machine that is idle."
)
@click.argument("run", type=NamedPath())
@click.option("--support", type=NamedPath(), help="Folder of labelled images, where it is no longer the run's.")
@click.option(
    "--device", type=Text("cpu"), default="auto", show_default=True, help="cpu, cuda, cuda:N or auto: one device."
)
def time_command(run: Path, data_root: Path | None, support: Path | None, device: str) -> None:
    """Measure latency, throughput, memory and FLOPs of the methods of RUN again, and show its tables with them.

    Methods take turns on at least 100 single images each (fewer where one takes more than a second), then on batches;
    the set is not answered again. times.json in RUN holds what was measured. Exit code 3: something else ran meanwhile.
    """
    from apm_tta.api.run_folder import open_run
    from apm_tta.harness.compute.rounds import BATCHES, SINGLES
    from apm_tta.harness.time_again import time_again
    from apm_tta.system.bars import bar
    from apm_tta.wording import first_few

    progress: tqdm[None]

    opened = open_run(run)
    opened.results  # noqa: B018  (refuses a run that is not complete)
    places = {"data_root": data_root, "support": support}
    request = _request(run, opened.manifest.command, {name: path for name, path in places.items() if path}, device)
    with bar(total=SINGLES + BATCHES, desc="timing") as progress:
        disturbed = time_again(run, request, progress.update)
    report = open_run(run).report()
    click.echo(report.text)
    if report.unwritten:
        raise UserError(report.unwritten)
    if disturbed:
        told = [f"{name}: {reason}" for name, reason in disturbed.items()]
        raise UserError(
            f"something else ran while {len(disturbed)} of {len(opened.manifest.numbers.methods)} methods were timed "
            f"({first_few(told, '; ')})",
            exit_code=DAMAGED,
            advice="let the machine do nothing else, then time again",
        )


def _request(run: Path, command: tuple[str, ...], places: dict[str, Path], device: str) -> RunRequest:
    """Resolve the request of a run again, with what has moved.

    Raises:
        UserError: when the run does not record its command, or it means nothing here.
    """
    from apm_tta.api.run import resolve
    from apm_tta.commands.suites import SuiteCommand

    if len(command) < 2:
        raise UserError(f"{run} does not record the command that made it, so its methods cannot be built again")
    _, suite, *words = command
    with SuiteCommand(suite).make_context(suite, words) as context:
        given: dict[str, Any] = {**context.params, **places, "devices": [device], "quiet": True}
    for name in ("dry_run", "json"):
        given.pop(name)
    return resolve(suite, given)


COMMANDS = [time_command]
