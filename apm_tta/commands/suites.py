"""``run-bench SUITE``: runs a suite and prints its table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from apm_tta.commands.option_types import JpegQuality, MethodSetting, Names, Part, Seeds, Severities, by_method
from apm_tta.commands.options import data_root_option
from apm_tta.errors import DAMAGED, UserError

if TYPE_CHECKING:
    from apm_tta.harness.request.run_request import RunRequest
    from apm_tta.harness.request.suite import Suite


def suite_command(name: str) -> click.Command:
    """Make the command ``run-bench NAME``, which runs that suite and prints its table."""
    from apm_tta.harness.request.suite import load_suite

    suite = load_suite(name)

    def run_suite(dry_run: bool, **options: Any) -> None:
        from apm_tta.harness.estimate import estimate
        from apm_tta.harness.request.run_request import resolve_request
        from apm_tta.harness.request.suite import Suite

        of_suite = {key: options.pop(key) for key in list(options) if key in Suite.model_fields}
        overrides = {key: value for key, value in of_suite.items() if value is not None}
        request = resolve_request(name, overrides, **options)
        if dry_run:
            click.echo(estimate(request).text())
        else:
            _run(request)

    return click.Command(name, callback=run_suite, help=suite.title, short_help=suite.title, params=_options(suite))


def _run(request: RunRequest) -> None:
    from apm_tta.harness.progress.json_lines import JsonLines
    from apm_tta.harness.run import run
    from apm_tta.report import ERRORS_FILE, write_report

    lines = JsonLines() if request.json else None
    try:
        folder = run(request)
        if request.part is not None:
            if lines:
                lines.put("done", folder=str(folder), part=list(request.part))
            else:
                part, parts = request.part
                click.echo(f"part {part} of {parts} is done: {folder}; run-bench merge makes one run of all parts")
            return
        report = write_report(folder)
    except UserError as error:
        if lines:
            lines.put("stopped", message=str(error), exit_code=error.exit_code)
        raise
    if lines:
        lines.put("done", folder=str(folder), errors=report.errors)
    else:
        click.echo(report.text)
        click.echo(f"run folder: {folder} (report.html, results.csv, .md and .tex, run.yaml, run.log, records/)")
    if report.errors:
        raise UserError(
            f"{report.errors} answers are missing: images could not be read; {folder / ERRORS_FILE} names them",
            exit_code=DAMAGED,
        )


def _options(suite: Suite) -> list[click.Parameter]:
    from apm_tta.harness.plan import Reset, Setting
    from apm_tta.harness.request.suite import Classifier

    def shown(value: Any) -> str:
        return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)

    def of_suite(flag: str, kind: Any, text: str, *others: str) -> click.Option:
        value = shown(getattr(suite, flag.removeprefix("--").replace("-", "_")))
        return click.Option([flag, *others], type=kind, help=f"{text} [suite: {value or 'none'}]")

    def of_request(flag: str, kind: Any, text: str, *others: str, **more: Any) -> click.Option:
        return click.Option([flag, *others], type=kind, help=text, **more)

    def choice(kind: Any) -> click.Choice[str]:
        return click.Choice(list(get_args(kind)))

    path, count = click.Path(path_type=Path), click.IntRange(min=1)
    return [
        of_suite("--methods", Names(), "Methods, in the order of the table; all for every one."),
        of_suite("--teacher", str, "embedded, ViT-B-16:openai, ViT-B-32:/path, timm:NAME[:/path], hf-hub:..."),
        of_suite("--classifier", choice(Classifier), "Where class weights come from."),
        of_request("--support", path, "Labelled images, a folder a class."),
        of_suite("--shots", count, "Images a class that are taken from --support."),
        of_suite("--dataset", str, "Another data set under the same conditions; see run-bench list datasets."),
        data_root_option(),
        of_suite("--limit", click.IntRange(min=0), "Images a condition, evenly over classes; 0 for all."),
        of_suite("--corruptions", Names(), "Corruptions; an empty text for none."),
        of_suite("--severities", Severities(), "Severities of each corruption, 1 to 5."),
        of_suite("--jpeg-quality", JpegQuality(), "JPEG that images pass after a corruption made here, or none."),
        of_suite("--setting", choice(Setting), "How online methods meet the images."),
        of_suite("--reset", choice(Reset), "Where online methods forget; none is the setting's own."),
        of_suite("--seeds", Seeds(), "Seeds of every random draw, each a row of the table.", "--seed"),
        of_suite("--batch-size", count, "Images a method sees at once."),
        of_suite("--precision", click.Choice(["float32", "bfloat16"]), "Of matrix products."),
        click.Option(
            ["--set", "settings"],
            type=MethodSetting(),
            multiple=True,
            callback=by_method,
            help="A parameter of a method.",
        ),
        click.Option(
            ["--dry-run"], is_flag=True, help="Say what would be computed, and about how long; write nothing."
        ),
        of_request("--out", path, "Run folder; one that holds this run is gone on with."),
        click.Option(["--force-new"], is_flag=True, help="Where --out exists, start in a new folder beside it."),
        of_suite("--shard-size", count, "Images that are recorded together: what a run that is killed may lose."),
        of_request("--shard-range", Part(), "Compute the i-th of n parts alone; run-bench merge joins them.", "part"),
        of_request(
            "--devices",
            Names(),
            "cpu, cuda, cuda:N, auto, or all GPUs; several make a process each.",
            "--device",
            default="auto",
            show_default=True,
        ),
        of_request("--ray", str, "Compute on a Ray cluster: its address, auto, or local to start one here."),
        of_request(
            "--gpu-share",
            click.FloatRange(min=0, min_open=True),
            "Of one GPU, for every task of Ray.",
            default=1.0,
            show_default=True,
        ),
        of_request("--workers", click.IntRange(min=0), "Processes that load images ahead; 0 loads in between."),
        of_request(
            "--memory",
            click.FloatRange(min=0, min_open=True),
            "GiB that a method may hold; a share of what is free unless given.",
        ),
        click.Option(["--feature-cache"], is_flag=True, help="Keep the teacher's features on disk, and use them."),
        click.Option(["--quiet"], is_flag=True, help="No progress bar."),
        click.Option(["--json"], is_flag=True, help="Events as lines of JSON in place of bar and table."),
    ]
