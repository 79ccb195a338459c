"""``run-bench``: parses, calls, prints."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
import yaml

from apm_tta.errors import INTERRUPTED, UnknownName, UserError
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


class Setting(click.ParamType[tuple[str, str, Any]]):
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
    from apm_tta.harness.suite import load_suite

    suite = load_suite(name)

    def run_suite(
        settings: Sequence[tuple[str, str, Any]],
        data_root: Path | None,
        out: Path | None,
        device: str,
        memory: float | None,
        quiet: bool,
        **overrides: Any,
    ) -> None:
        from apm_tta.harness.run import Request, run
        from apm_tta.report import write_report

        changes: dict[str, Any] = {key: value for key, value in overrides.items() if value is not None}
        changes["settings"] = {}
        for method, key, value in settings:
            changes["settings"].setdefault(method, {})[key] = value
        folder = run(load_suite(name, changes), Request(data_root, out, device, memory=memory, quiet=quiet))
        click.echo(write_report(folder))
        click.echo(f"run folder: {folder} (results.csv, iterations.csv, results.md, run.yaml, records/)")

    def shown(value: Any) -> str:
        return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)

    def option(flag: str, kind: Any, text: str, field: str | None = None, **more: Any) -> click.Option:
        default = f" [suite: {shown(getattr(suite, field)) or 'none'}]" if field else ""
        return click.Option([flag, *([field] if field else [])], type=kind, help=text + default, **more)

    return click.Command(
        name,
        callback=run_suite,
        help=suite.title,
        short_help=suite.title,
        params=[
            option("--methods", Names(), "Methods, in the order of the table; all for every one.", "methods"),
            option("--teacher", str, "embedded, ViT-B-16:openai, ViT-B-32:/path/to/checkpoint, hf-hub:...", "teacher"),
            option("--limit", click.IntRange(min=0), "Images a condition, evenly over classes; 0 for all.", "limit"),
            option("--corruptions", Names(), "Corruptions; an empty text for none.", "corruptions"),
            option("--severities", Severities(), "Severities of each corruption, 1 to 5.", "severities"),
            option("--seed", click.IntRange(min=0), "Seed of every random draw.", "seed"),
            option("--batch-size", click.IntRange(min=1), "Images a method sees at once.", "batch_size"),
            option("--precision", click.Choice(["float32", "bfloat16"]), "Of matrix products.", "precision"),
            click.Option(["--set", "settings"], type=Setting(), multiple=True, help="A parameter of a method."),
            option("--data-root", click.Path(path_type=Path), "Where the data set lies."),
            option("--out", click.Path(path_type=Path), "Run folder; one that holds this run is gone on with."),
            option("--device", str, "cpu, cuda, cuda:N, or auto.", default="auto", show_default=True),
            option(
                "--memory",
                click.FloatRange(min=0, min_open=True),
                "GiB that a method may hold; a share of what is free unless given.",
            ),
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
def list_command(kind: str) -> None:
    """Prints what exists of KIND, one a line."""
    for line in _listing(kind):
        click.echo(line)


@main_group.command("report", short_help="Makes the tables of a run folder again.")
@click.argument("run", type=click.Path(path_type=Path))
def report_command(run: Path) -> None:
    """Makes the tables of the run folder RUN from its records, and prints them."""
    from apm_tta.report import write_report

    click.echo(write_report(run))


def _listing(kind: str) -> list[str]:
    if kind == "suites":
        from apm_tta.harness.suite import load_suite

        return [f"{name}: {load_suite(name).title}" for name in yaml_names(SUITES)]
    if kind == "datasets":
        from apm_tta.data.cards import card_names, load_card

        cards = [load_card(name) for name in card_names()]
        return [
            f"{card.name}: {card.title}; {card.images} images, {len(card.class_list)} classes; {card.licence}"
            for card in cards
        ]
    if kind == "corruptions":
        from apm_tta.data.corruptions import CORRUPTIONS

        return CORRUPTIONS.names()
    if kind == "templates":
        from apm_tta.teachers import TEMPLATES

        return [f"{name}: {len(templates)} templates" for name, templates in TEMPLATES.items()]
    if kind == "teachers":
        from apm_tta.teachers import teacher_names

        return teacher_names()
    from apm_tta.methods import METHODS

    methods = [METHODS.get(name) for name in METHODS.names()]
    return [f"{method.name}: {method.protocol}; {method.summary}" for method in methods]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs ``run-bench`` and returns its exit code.

    0: done. 1: understood, but it cannot be carried out here. 2: not understood. 130: interrupted.
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
