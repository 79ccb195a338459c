"""A method's parameters from what was asked for on the command line or in a suite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from apm_tta.configuration import one_line
from apm_tta.errors import UnknownName, UserError
from apm_tta.methods.base import METHODS, require_parameters
from apm_tta.methods.family_defaults import is_by_family
from apm_tta.teachers import read_templates


def check_templates(name: str) -> str:
    """Return ``name``, when templates of that name exist; ``dataset`` is the data set's own.

    Raises:
        ValueError: listing those that exist (pydantic turns it into its own error).
    """
    try:
        read_templates(name, "{}")
    except UserError as error:
        raise ValueError(str(error)) from None
    return name


Templates = Annotated[str, AfterValidator(check_templates), Field(description="name or file of the prompt templates")]


def build_parameters(method: str, settings: Mapping[str, Any]) -> Any:
    """Build the method's ``Parameters`` with ``settings`` in place of defaults.

    None for a parameter whose default depends on the data set's family asks for that default.

    Raises:
        UnknownName: for a key that the method does not have, listing those that it has.
        UserError: for a value of the wrong type or out of range. Exit code 2.
    """
    kind = require_parameters(METHODS.get(method))
    known = {field.name: field for field in fields(kind)}
    for key in settings:
        if key not in known:
            raise UnknownName(f"key of method {method}", key, list(known))
    chosen = {key: value for key, value in settings.items() if value is not None or not is_by_family(known[key])}
    try:
        return TypeAdapter(kind).validate_python(chosen)
    except ValidationError as error:
        raise UserError(f"method {method}: {one_line(error)}", exit_code=2) from None
