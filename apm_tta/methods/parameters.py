"""Build a method's parameters from what was asked for on the command line or in a suite."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from typing import Any

from pydantic import ValidationError
from pydantic.errors import PydanticUserError

from apm_tta.configuration import one_line, validated
from apm_tta.errors import UnknownName, UserError
from apm_tta.method_rows import method_of, settings_of
from apm_tta.methods.base import find_method
from apm_tta.methods.data_defaults import depends_on_data
from apm_tta.methods.default_parameters import DefaultParameters, Templates
from apm_tta.methods.method_check import require_parameters

_EXAMPLES = (20, 1e-3, True, [256, 128], "text")

__all__ = ["DefaultParameters", "Templates", "build_parameters"]


def build_parameters(row: str, settings: Mapping[str, Any]) -> Any:
    """Build the ``Parameters`` of a row's method with ``settings`` in place of defaults.

    Those in the name of a variant come before ``settings``.

    None for a parameter whose default depends on the data set takes that default. Where the parameter ``preset`` is
    ``published``, what is not in ``settings`` is as in the authors' script.

    Raises:
        UnknownName: for a key that the method does not have, listing those that it has.
        UserError: for a value of the wrong type or out of range, with one that is right. Exit code 2. For a type that
            cannot be checked.
    """
    method, settings = method_of(row), {**settings, **settings_of(row)}
    kind = require_parameters(find_method(row))
    known = {field.name: field for field in fields(kind)}
    for key in settings:
        if key not in known:
            raise UnknownName(f"key of method {method}", key, list(known))
    chosen = {key: value for key, value in settings.items() if value is not None or not depends_on_data(known[key])}
    try:
        parameters = validated(kind, chosen)
    except ValidationError as error:
        wrong = [str(item["loc"][0]) for item in error.errors() if item["loc"]]
        example = _example(method, kind, wrong[0]) if wrong else ""
        raise UserError(f"method {method}: {one_line(error)}{example}", exit_code=2) from None
    except (PydanticUserError, NameError) as error:  # a type that pydantic does not know, or a name that it cannot find
        raise UserError(
            f"the types of the parameters of method {method} cannot be checked ({' '.join(str(error).split())})"
        ) from None
    except ValueError as error:
        example = _example(method, kind, str(error).partition(":")[0])
        raise UserError(f"method {method}: {error}{example}", exit_code=2) from None
    published = find_method(row).published
    if published is None or parameters.preset != "published":
        return parameters
    return published.applied(parameters, chosen)


def _example(method: str, kind: type[Any], key: str) -> str:
    """Return an assignment of a parameter that is accepted: its default, or another where that is no plain value."""
    defaults: dict[str, Any] = {field.name: field.default for field in fields(kind)}
    default = getattr(defaults.get(key), "general", defaults.get(key))
    own = (default,) if isinstance(default, str | int | float) else ()
    for value in (*own, *_EXAMPLES):
        with suppress(ValueError):
            validated(kind, {key: value})
            return f"; for example {method}.{key}={json.dumps(value)}"
    return ""
