"""``run-bench list``: list suites, data sets, methods and other things by name."""

from __future__ import annotations

import inspect
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from apm_tta.commands.option_types import OneOf
from apm_tta.commands.options import data_root_option
from apm_tta.resources import SUITES, yaml_names

if TYPE_CHECKING:
    from apm_tta.harness.streams import StreamSetting

_KINDS = ("suites", "datasets", "methods", "teachers", "corruptions", "settings", "templates", "columns")


@click.command(
    "list",
    params=[data_root_option()],
    short_help=f"List {', '.join(_KINDS[:-1])} or {_KINDS[-1]}.",
)
@click.argument("kind", type=OneOf(_KINDS))
def list_command(kind: str, data_root: Path | None) -> None:
    """List everything of the given KIND, one entry per line."""
    for line in _lines(kind, data_root):
        click.echo(line)


def _lines(kind: str, data_root: Path | None = None) -> list[str]:
    """Describe everything of ``kind``, importing only what that needs."""
    if kind == "suites":
        from apm_tta.harness.request.suite import load_suite

        return [f"{name}: {load_suite(name).title}" for name in yaml_names(SUITES)]
    if kind == "datasets":
        from apm_tta.data.check import overview

        return overview(data_root)
    if kind == "corruptions":
        from apm_tta.data.corruptions import CORRUPTIONS

        return CORRUPTIONS.names()
    if kind == "settings":
        from apm_tta.harness.streams import SETTINGS

        return [line for name in SETTINGS.names() for line in _setting(SETTINGS.get(name))]
    if kind == "templates":
        from apm_tta.teachers import TEMPLATES
        from apm_tta.wording import pluralise

        return [f"{name}: {pluralise(len(templates), 'template')}" for name, templates in TEMPLATES.items()]
    if kind == "columns":
        from apm_tta.columns import documentation

        return documentation()
    if kind == "teachers":
        from apm_tta.teachers import teacher_names

        return teacher_names()
    from apm_tta.methods import METHODS, build_parameters

    lines = []
    for method in (METHODS.get(name) for name in METHODS.names()):
        defaults = asdict(build_parameters(method.name, {}))
        lines += [
            f"{method.name}: {method.summary} ({method.paper}); {method.protocol}; adapts {method.adapts}"
            f"{f'; is told {method.knows}' if method.knows else ''}",
            f"    defaults: {', '.join(f'{key}={value}' for key, value in defaults.items())}",
        ]
    return lines


def _setting(setting: type[StreamSetting]) -> list[str]:
    """Describe a setting of a stream, and its options."""
    summary = (inspect.getdoc(setting) or "").partition("\n\n")[0].replace("\n", " ")
    lines = [f"{setting.name}: {summary} Online methods are reset by --reset {setting.default_reset}."]
    for name, field in setting.model_fields.items():
        lines.append(f"    --{name.replace('_', '-')}: {field.description} [{field.default}]")
    return lines


COMMANDS = [list_command]
