"""``run-bench SUITE``: run a suite and print its table."""

from __future__ import annotations

import time
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, get_args

import click

from apm_tta.commands.option_types import (
    Amount,
    Integers,
    JpegQuality,
    MethodRows,
    MethodSetting,
    NamedPath,
    Names,
    OneOf,
    Part,
    Span,
    Text,
    Whole,
    WordOrWhole,
    by_method,
)
from apm_tta.commands.options import data_root_option
from apm_tta.commands.setting_options import setting_options
from apm_tta.errors import DAMAGED, UserError
from apm_tta.harness.request.limits import (
    MOST_IMAGES,
    MOST_MEMORY,
    MOST_SHARES,
    MOST_WORKERS,
    PRECISIONS,
    Classifier,
)
from apm_tta.known_names import dataset_names, method_names, teacher_names
from apm_tta.system.started import STARTED

if TYPE_CHECKING:
    from apm_tta.harness.request.run_request import RunRequest
    from apm_tta.harness.request.suite import Suite


class SuiteCommand(click.Command):
    """The command ``run-bench NAME``, which runs that suite and prints its table.

    The suite's file is read when it is run or described: a shell that completes its options need not wait for it.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name, callback=partial(_run_suite, name), params=_options())
        self.suite_name = name

    @cached_property
    def suite(self) -> Suite:
        """The suite as its file states it."""
        from apm_tta.harness.request.suite import load_suite

        return load_suite(self.suite_name)

    def get_short_help_str(self, limit: int = 45) -> str:
        """Return the suite's title."""
        return self.suite.title

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the suite's title."""
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(self.suite.title)


class SuiteOption(click.Option):
    """An option whose value is the suite's own where it is not given, as its help says."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the option's names and its help, with the suite's value."""
        record = super().get_help_record(ctx)
        if record is None or not isinstance(ctx.command, SuiteCommand):
            return record
        flags, text = record
        value = getattr(ctx.command.suite, self.opts[0].removeprefix("--").replace("-", "_"))
        listed = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
        return flags, f"{text} [suite: {'none' if value in (None, ()) else listed}]"


def _run_suite(name: str, dry_run: bool, json: bool, **options: Any) -> None:
    from apm_tta.api.run import resolve
    from apm_tta.harness.estimate import estimate

    request = resolve(name, options, json=json)
    if dry_run:
        click.echo(estimate(request, time.perf_counter() - STARTED).text())
    else:
        _run(request)


def _run(request: RunRequest) -> None:
    from apm_tta.api.run import run_request
    from apm_tta.harness.progress.json_lines import JsonLines

    lines = JsonLines() if request.json else None
    try:
        run = run_request(request)
    except UserError as error:
        if lines:
            lines.put("stopped", message=str(error), exit_code=error.exit_code)
        raise
    report, folder = run.written, run.folder
    if report is None:
        part, parts = request.part or (1, 1)
        if lines:
            lines.put("done", folder=str(folder), part=[part, parts])
        else:
            click.echo(f"part {part} of {parts} is done: {folder}; run-bench merge joins all parts into one run")
        return
    if lines:
        lines.put("done", folder=str(folder), errors=report.errors)
    else:
        click.echo(report.text)
        click.echo(f"run folder: {folder} (report.html, results.csv, .md and .tex, run.yaml, run.log, records/)")
    if report.errors:
        raise UserError(report.missing_answers(), exit_code=DAMAGED)


def _options() -> list[click.Parameter]:
    from apm_tta.harness.streams import SETTINGS, Reset

    def of_suite(flag: str, kind: Any, text: str, *others: str) -> click.Option:
        return SuiteOption([flag, *others], type=kind, help=text)

    def of_request(flag: str, kind: Any, text: str, *others: str, **more: Any) -> click.Option:
        return click.Option([flag, *others], type=kind, help=text, **more)

    def choice(kind: Any) -> OneOf:
        return OneOf(list(get_args(kind)))

    path, count = NamedPath(), Whole(1, MOST_IMAGES, 64)
    return [
        of_suite(
            "--methods",
            MethodRows("zeroshot,apm", lambda: ["all", "fast", *method_names()]),
            "Methods, in the order of the table; all for every one that works here, fast for those above 50 images/s; "
            "apm[iterations=60] for a row with settings of its own.",
        ),
        of_suite(
            "--teacher",
            Text("embedded", teacher_names),
            "Teacher: embedded, ViT-B-16:openai, ViT-B-32:/path, timm:NAME[:/path], torchvision:NAME.WEIGHTS[:/path], "
            "robustbench:NAME[:/path], hf-hub:...",
        ),
        of_suite("--classifier", choice(Classifier), "Source of the class weights."),
        of_request("--support", path, "Folder of labelled images, one subfolder per class."),
        of_request("--prompts", path, "File of learned context vectors, as CoOp writes it, in place of templates."),
        of_suite("--shots", count, "Images per class to take from --support."),
        of_suite(
            "--dataset",
            Text("imagenet", dataset_names),
            "Another data set under the same conditions; see run-bench list datasets.",
        ),
        data_root_option(),
        of_suite(
            "--subset", Text("robustbench-5k"), "A list of images that the literature tests; none for all images."
        ),
        of_suite(
            "--limit", Whole(0, MOST_IMAGES, 100), "Images per condition, spread evenly over the classes; 0 for all."
        ),
        SuiteOption(["--clean/--no-clean"], default=None, help="Run the uncorrupted images as a condition too."),
        of_suite("--domains", Names("art_painting,sketch", none=True), "Domains of a data set that has these."),
        of_suite("--corruptions", Names("fog,contrast", none=True), "Corruptions; an empty text for none."),
        of_suite("--severities", Integers("severities", "3,5", none=True), "Severities of each corruption, 1 to 5."),
        of_suite(
            "--jpeg-quality", JpegQuality(), "JPEG quality applied after a corruption that is made here, or none."
        ),
        of_suite("--crop-scale", Span(), "Smallest and largest share of an image's area that a random view shows."),
        of_suite(
            "--foreign",
            Text("sklearn-digits", dataset_names),
            "Data set whose images are to be told from those of this one; none for none.",
        ),
        of_suite("--setting", OneOf(SETTINGS.names()), "Order in which online methods see the images."),
        *setting_options(),
        of_suite(
            "--window",
            Whole(1, MOST_IMAGES, 16),
            "Images come one by one; an online method sees the last so many, and the answer to the newest counts.",
        ),
        of_suite(
            "--reset",
            WordOrWhole((*get_args(Reset), "none"), MOST_IMAGES, "steps", 1000),
            "When online methods reset, N: every N steps; none leaves it to the setting.",
        ),
        of_suite("--seeds", Integers("seeds", "0,1,2"), "Random seeds, each a row of the table.", "--seed"),
        of_suite("--batch-size", count, "Images per batch."),
        of_suite("--precision", OneOf(PRECISIONS), "Precision of matrix products (tf32: on GPUs)."),
        click.Option(
            ["--set", "settings"],
            type=MethodSetting(),
            multiple=True,
            callback=by_method,
            help="Set a parameter of a method and of its variants; may be repeated.",
        ),
        click.Option(["--dry-run"], is_flag=True, help="Estimate time, memory and disk; write nothing."),
        of_request("--out", path, "Run folder; resume an existing folder of the same run."),
        click.Option(["--allow-code"], is_flag=True, help="Let --teacher module:... import and run that code."),
        click.Option(["--force-new"], is_flag=True, help="Start a new folder beside --out if that exists."),
        of_suite("--shard-size", count, "Images recorded in one file."),
        of_request("--shard-range", Part(), "Compute only the i-th of n parts; run-bench merge joins them."),
        of_request(
            "--plan",
            path,
            "File of measured times, by which parts are equally long; --dry-run writes it, parts read it.",
        ),
        of_request(
            "--devices",
            Names("cpu"),
            "cpu, cuda, cuda:N, auto, or all GPUs; several devices get a process each.",
            "--device",
            default="auto",
            show_default=True,
        ),
        of_request("--ray", Text("auto"), "Compute on a Ray cluster: its address, auto, or local to start one here."),
        of_request(
            "--gpu-share",
            Amount(0, MOST_SHARES, 0.5, above=True),
            "Share of a GPU per Ray task; by default 1, or as many tasks as --memory leaves room for.",
        ),
        click.Option(["--ship"], is_flag=True, help="Let Ray's workers use this package as it is here."),
        of_request("--workers", Whole(0, MOST_WORKERS, 4), "Processes that load images ahead; 0 loads them in turn."),
        of_request(
            "--memory",
            Amount(0, MOST_MEMORY, 8, above=True),
            "GiB that a method may use; by default a share of what is free.",
        ),
        click.Option(["--feature-cache"], is_flag=True, help="Keep the teacher's features on disk and reuse them."),
        click.Option(["--quiet"], is_flag=True, help="Hide the progress bar."),
        click.Option(["--json"], is_flag=True, help="Print events as lines of JSON instead of bar and table."),
    ]
