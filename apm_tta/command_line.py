"""The command ``run-bench`` as click sees it: one command per suite, and those of ``apm_tta.commands``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from click.shell_completion import CompletionItem

from apm_tta.commands import all_commands
from apm_tta.commands.suites import SuiteCommand
from apm_tta.errors import UnknownName
from apm_tta.resources import SUITES, yaml_names
from apm_tta.system.verbosity import OPTION

FIRST_STEPS = """Three things to do first:

  run-bench demo                         a whole run in about a minute: no download, no GPU
  run-bench folder --data-root IMAGES    your own images, one folder per class (--dry-run: what it would take)
  run-bench doctor                       what is here, what is missing, and for what

run-bench --help lists every suite and command; run-bench SUITE --help shows the options of one."""
"""Shown where nothing is asked for."""


class Interrupted(Exception):
    """A ``KeyboardInterrupt``, its cause, on its way through click, which would print a line and forget the signal."""


@contextmanager
def _past_click() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as stop:
        raise Interrupted from stop


def _verbose() -> click.Option:
    """Make the option that every command takes; ``apm_tta.system.verbosity`` looks for it."""
    return click.Option(
        [OPTION], is_flag=True, expose_value=False, help="Show what is logged, and where an error comes from."
    )


class Commands(click.Group):
    """The commands below, and one per suite.

    Raises:
        Interrupted: for every ``KeyboardInterrupt``.
    """

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        with _past_click():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        with _past_click():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*yaml_names(SUITES), *super().list_commands(ctx)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List suites apart from the commands that work on runs and data."""
        for title, names in (("Suites", yaml_names(SUITES)), ("Commands", super().list_commands(ctx))):
            found = [(name, self.get_command(ctx, name)) for name in names]
            width = formatter.width - 6 - max(len(name) for name in names)
            rows = [(name, command.get_short_help_str(width)) for name, command in found if command is not None]
            with formatter.section(title):
                formatter.write_dl(rows)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        command = super().get_command(ctx, name) or (SuiteCommand(name) if name in yaml_names(SUITES) else None)
        if command is not None and all(parameter.name != "verbose" for parameter in command.params):
            command.params.append(_verbose())
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Return the names that begin so; no file is read for what a suite would say of itself."""
        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        return [*map(CompletionItem, names), *click.Command.shell_complete(self, ctx, incomplete)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.list_commands(ctx) and not ctx.resilient_parsing:
            raise UnknownName("suite or command", args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="apm-tta")
def main_group() -> None:
    """Benchmark test-time adaptation: accuracy, agreement with the teacher, and cost, in one table.

    Start with: run-bench demo. Every suite is a command; run-bench SUITE --help shows its options.
    """


for command in all_commands():
    main_group.add_command(command)
main_group.params.append(_verbose())
