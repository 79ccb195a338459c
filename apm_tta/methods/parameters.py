"""Build a method's parameters from what was asked for on the command line or in a suite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from apm_tta.configuration import one_line
from apm_tta.errors import UnknownName, UserError
from apm_tta.methods.base import METHODS
from apm_tta.methods.default_parameters import DefaultParameters, Templates
from apm_tta.methods.family_defaults import is_by_family
from apm_tta.methods.method_check import require_parameters

__all__ = ["DefaultParameters", "Templates", "build_parameters"]


def build_parameters(method: str, settings: Mapping[str, Any]) -> Any:
    """Build the method's ``Parameters`` with ``settings`` in place of defaults.

    None for a parameter whose default depends on the data set's family takes that default.

    Raises:
        UnknownName: for a key that the method does not have, listing those that it has.
        UserError: for a value of the wrong type or out of range. Exit code 2. For a type that cannot be checked.
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
    except (PydanticUserError, NameError) as error:  # a type that pydantic does not know, or a name that it cannot find
        raise UserError(
            f"the types of the parameters of method {method} cannot be checked ({' '.join(str(error).split())})"
        ) from None
