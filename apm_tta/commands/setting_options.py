"""Options that the settings of streams declare: one for each of their parameters."""

from __future__ import annotations

from typing import Any

import click
from pydantic.fields import FieldInfo

from apm_tta.commands.option_types import Amount, Whole
from apm_tta.plain_data import LARGEST


def setting_options() -> list[click.Option]:
    """Make an option for every parameter of every setting."""
    from apm_tta.harness.streams import SETTINGS

    return [
        click.Option(
            [f"--{name.replace('_', '-')}"],
            type=_type(field),
            help=f"{field.description} [--setting {setting}: {field.default}]",
        )
        for setting in SETTINGS.names()
        for name, field in SETTINGS.get(setting).model_fields.items()
    ]


def _type(field: FieldInfo) -> click.ParamType[Any]:
    """Return the type of an option with the bounds that its field declares."""
    names = ("gt", "ge", "le")
    bounds = {name: getattr(each, name) for each in field.metadata for name in names if hasattr(each, name)}
    least, most = bounds.get("gt", bounds.get("ge", 0)), bounds.get("le", LARGEST)
    if field.annotation is int:
        return Whole(least, most, field.default)
    return Amount(least, most, field.default, above="gt" in bounds)
