"""``run-bench``: parses, calls, prints."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar, get_args

import click
import yaml

from apm_tta.errors import DAMAGED, INTERRUPTED, UnknownName, UserError
from apm_tta.resources import SUITES, yaml_names

F = TypeVar("F", bound=Callable[..., Any])


class Names(click.ParamType[list[str]]):
    """Names between commas, ``a,b,c``; an empty text is none."""

    name = "a,b,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        if isinstance(value, list):
            return value
        return [part.strip() for part in str(value).split(",") if part.strip()]


class Severities(click.ParamType[list[int]]):
    """Severities between commas, ``1,3,5``."""

    name = "1,3,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        if isinstance(value, list):
            return value
        try:
            return [int(part) for part in str(value).split(",") if part.strip()]
        except ValueError:
            self.fail(f"{value!r} is no list of severities; write for example 3,5", param, ctx)


class MethodSetting(click.ParamType[tuple[str, str, Any]]):
    """``method.key=value``; the value is YAML, so ``40``, ``1e-4``, ``true`` and ``[256, 128]`` mean what they say."""

    name = "method.key=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str, Any]:
        if isinstance(value, tuple):
            return value
        target, equals, text = str(value).partition("=")
        method, dot, key = target.partition(".")
        if not (equals and dot and method and key):
            self.fail(f"{value!r} is not of the form method.key=value, such as apm.iterations=40", param, ctx)
        try:
            return method, key, yaml.safe_load(text)
        except yaml.YAMLError:
            self.fail(f"the value {text!r} of {target} cannot be read", param, ctx)


class JpegQuality(click.ParamType[int | str]):
    """1 to 100, or ``none``."""

    name = "1..100|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        if value == "none":
            return "none"
        try:
            return int(value)
        except ValueError:
            self.fail(f"{value!r} is no JPEG quality; write a number from 1 to 100, or none", param, ctx)


class Commands(click.Group):
    """The commands below, and one for every suite."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*yaml_names(SUITES), *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        command = super().get_command(ctx, name)
        return command or (suite_command(name) if name in yaml_names(SUITES) else None)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None:
            raise UnknownName("suite or command", args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)


def suite_command(name: str) -> click.Command:
    """``run-bench NAME``: runs that suite and prints its table."""
    from apm_tta.harness.plan import Reset, Setting
    from apm_tta.harness.suite import Classifier, load_suite

    suite = load_suite(name)

    def run_suite(settings: Sequence[tuple[str, str, Any]], jpeg_quality: int | str | None, **asked: Any) -> None:
        from apm_tta.harness.run import Request, run
        from apm_tta.report import ERRORS_FILE, write_report

        source = click.get_current_context().get_parameter_source("data_root")
        asked["root_from_environment"] = source is click.core.ParameterSource.ENVIRONMENT
        request = Request(**{key: asked.pop(key) for key in list(asked) if key in Request.__dataclass_fields__})
        changes: dict[str, Any] = {key: value for key, value in asked.items() if value is not None}
        if jpeg_quality is not None:
            changes["jpeg_quality"] = None if jpeg_quality == "none" else jpeg_quality
        changes["settings"] = {}
        for method, key, value in settings:
            changes["settings"].setdefault(method, {})[key] = value
        folder = run(load_suite(name, changes), request)
        report = write_report(folder)
        click.echo(report.text)
        click.echo(f"run folder: {folder} (results.csv, iterations.csv, results.md, run.yaml, records/)")
        if report.errors:
            raise UserError(
                f"{report.errors} answers are missing: images could not be read; {folder / ERRORS_FILE} names them",
                exit_code=DAMAGED,
            )

    def shown(value: Any) -> str:
        return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)

    def option(flag: str, kind: Any, text: str, of_suite: bool = True, **more: Any) -> click.Option:
        field = flag.removeprefix("--").replace("-", "_")
        default = f" [suite: {shown(getattr(suite, field)) or 'none'}]" if of_suite else ""
        return click.Option([flag], type=kind, help=text + default, **more)

    def choice(kind: Any) -> click.Choice[str]:
        return click.Choice(list(get_args(kind)))

    return click.Command(
        name,
        callback=run_suite,
        help=suite.title,
        short_help=suite.title,
        params=[
            option("--methods", Names(), "Methods, in the order of the table; all for every one."),
            option("--teacher", str, "embedded, ViT-B-16:openai, ViT-B-32:/path, timm:NAME[:/path], hf-hub:..."),
            option("--classifier", choice(Classifier), "Where class weights come from."),
            option("--support", click.Path(path_type=Path), "Labelled images, a folder a class.", of_suite=False),
            option("--shots", click.IntRange(min=1), "Images a class that are taken from --support."),
            option("--dataset", str, "Another data set under the same conditions; see run-bench list datasets."),
            option(
                "--data-root",
                click.Path(path_type=Path),
                "Where the data set lies; also from APM_TTA_DATA_ROOT.",
                of_suite=False,
                envvar="APM_TTA_DATA_ROOT",
            ),
            option("--limit", click.IntRange(min=0), "Images a condition, evenly over classes; 0 for all."),
            option("--corruptions", Names(), "Corruptions; an empty text for none."),
            option("--severities", Severities(), "Severities of each corruption, 1 to 5."),
            option("--jpeg-quality", JpegQuality(), "JPEG that images pass after a corruption made here, or none."),
            option("--setting", choice(Setting), "How online methods meet the images."),
            option("--reset", choice(Reset), "Where online methods forget; none is the setting's own."),
            option("--seed", click.IntRange(min=0), "Seed of every random draw."),
            option("--batch-size", click.IntRange(min=1), "Images a method sees at once."),
            option("--precision", click.Choice(["float32", "bfloat16"]), "Of matrix products."),
            click.Option(["--set", "settings"], type=MethodSetting(), multiple=True, help="A parameter of a method."),
            option("--out", click.Path(path_type=Path), "Run folder; one that holds this run is gone on with.", False),
            option("--device", str, "cpu, cuda, cuda:N, or auto.", False, default="auto", show_default=True),
            option("--workers", click.IntRange(min=0), "Processes that load images ahead; 0 loads in between.", False),
            option(
                "--memory",
                click.FloatRange(min=0, min_open=True),
                "GiB that a method may hold; a share of what is free unless given.",
                of_suite=False,
            ),
            click.Option(["--feature-cache"], is_flag=True, help="Keep the teacher's features on disk, and use them."),
            click.Option(["--quiet"], is_flag=True, help="No progress bar."),
        ],
    )


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="apm-tta")
def main_group() -> None:
    """Benchmarks test-time adaptation: accuracy, agreement with the teacher, and cost, in one table.

    Start with: run-bench demo. Every suite is a command; see run-bench SUITE --help for its options.
    """


@main_group.command("list", short_help="What exists: suites, datasets, methods, teachers, corruptions, templates.")
@click.argument("kind", type=click.Choice(["suites", "datasets", "methods", "teachers", "corruptions", "templates"]))
@click.option(
    "--data-root",
    type=click.Path(path_type=Path),
    envvar="APM_TTA_DATA_ROOT",
    help="Of datasets: where they lie; also from APM_TTA_DATA_ROOT.",
)
def list_command(kind: str, data_root: Path | None) -> None:
    """Prints what exists of KIND, one a line."""
    for line in _listing(kind, data_root):
        click.echo(line)


@main_group.command("check", short_help="Compares a data set on disk with what is expected of it.")
@click.argument("name")
@click.option(
    "--data-root",
    type=click.Path(path_type=Path),
    envvar="APM_TTA_DATA_ROOT",
    help="Where it lies, or a folder that holds it under its name; also from APM_TTA_DATA_ROOT.",
)
@click.option("--deep", is_flag=True, help="Decode every image, and compare published digests.")
@click.pass_context
def check_command(ctx: click.Context, name: str, data_root: Path | None, deep: bool) -> None:
    """Counts the data set NAME (see run-bench list datasets), and says what is missing, surplus or unreadable."""
    from tqdm import tqdm

    from apm_tta.data.cards import load_card
    from apm_tta.data.check import check, presence

    card = load_card(name)
    given = ctx.get_parameter_source("data_root") is not click.core.ParameterSource.ENVIRONMENT
    root = data_root if given or presence(card, None) != "carried" else None
    report = check(card, root, deep, lambda entries, total: tqdm(entries, total=total, leave=False, disable=None))
    click.echo("\n".join(report.lines()))
    if not report.right:
        raise UserError(f"{name} is not as it has to be: {len(report.problems)} problems, listed above")


@main_group.command("report", short_help="Makes the tables of a run folder again.")
@click.argument("run", type=click.Path(path_type=Path))
def report_command(run: Path) -> None:
    """Makes the tables of the run folder RUN from its records, and prints them."""
    from apm_tta.report import write_report

    click.echo(write_report(run).text)


def _listing(kind: str, data_root: Path | None = None) -> list[str]:
    if kind == "suites":
        from apm_tta.harness.suite import load_suite

        return [f"{name}: {load_suite(name).title}" for name in yaml_names(SUITES)]
    if kind == "datasets":
        from apm_tta.data.check import overview

        return overview(data_root)
    if kind == "corruptions":
        from apm_tta.data.corruptions import CORRUPTIONS

        return CORRUPTIONS.names()
    if kind == "templates":
        from apm_tta.teachers import TEMPLATES

        return [f"{name}: {len(templates)} templates" for name, templates in TEMPLATES.items()]
    if kind == "teachers":
        from apm_tta.teachers import teacher_names

        return teacher_names()
    from apm_tta.methods import METHODS, build_parameters

    lines = []
    for method in (METHODS.get(name) for name in METHODS.names()):
        defaults = asdict(build_parameters(method.name, {}))
        lines += [
            f"{method.name}: {method.summary} ({method.paper}); {method.protocol}; adapts {method.adapts}",
            f"    defaults: {', '.join(f'{key}={value}' for key, value in defaults.items())}",
        ]
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs ``run-bench`` and returns its exit code.

    0: done. 1: understood, but it cannot be carried out here. 2: not understood. 3: done, but for images that could
    not be read. 130: interrupted.
    """
    try:
        main_group.main(list(sys.argv[1:] if arguments is None else arguments), "run-bench", standalone_mode=False)
    except UserError as error:
        return _say(str(error), error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.ClickException as error:
        return _say(error.format_message(), 2)
    except (KeyboardInterrupt, click.Abort):
        return _say("interrupted; what a run had finished is kept in its folder", INTERRUPTED)
    return 0


def _say(message: str, exit_code: int) -> int:
    click.echo(f"run-bench: {message}", err=True)
    return exit_code


def console() -> None:
    """Entry point of the console script."""
    sys.exit(main())
