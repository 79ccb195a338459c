"""A method's parameters from what was asked for on the command line or in a suite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from apm_tta.configuration import one_line
from apm_tta.errors import UnknownName, UserError
from apm_tta.methods.base import METHODS, check_templates

Templates = Annotated[str, AfterValidator(check_templates), Field(description="name or file of the prompt templates")]


def build_parameters(method: str, settings: Mapping[str, Any]) -> Any:
    """The method's ``Parameters`` with ``settings`` in place of defaults.

    Raises:
        UnknownName: for a key that the method does not have, listing those that it has.
        UserError: for a value of the wrong type or out of range. Exit code 2.
    """
    kind = METHODS.get(method).Parameters
    known = [field.name for field in fields(kind)]
    for key in settings:
        if key not in known:
            raise UnknownName(f"key of method {method}", key, known)
    try:
        return TypeAdapter(kind).validate_python(dict(settings))
    except ValidationError as error:
        raise UserError(f"method {method}: {one_line(error)}", exit_code=2) from None
