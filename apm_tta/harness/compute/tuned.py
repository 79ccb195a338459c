"""Find the settings of a run's rows that are not the defaults, which are the papers' or the suite's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from apm_tta.errors import UserError
from apm_tta.harness.compute.prepare import Prepared
from apm_tta.harness.request.suite import own_settings
from apm_tta.method_rows import method_of, settings_of
from apm_tta.methods import Method, build_method, build_parameters
from apm_tta.methods.data_defaults import resolve_defaults
from apm_tta.methods.stated import stated_parameters


def tuned_settings(prepared: Prepared) -> dict[str, dict[str, Any]]:
    """Return, by row, the settings that depart from the defaults and that the row's name does not state.

    A preset is not among them, and what it sets is not either: it is its authors' setting.
    """
    suite = own_settings(prepared.request.suite.name)
    rows = {row: _departures(row, method, suite) for row, method in prepared.methods.items()}
    return {row: settings for row, settings in rows.items() if settings}


def _departures(row: str, method: Method[Any], suite: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    name, parameters, given = method_of(row), method.parameters, method.given
    known = [field.name for field in fields(parameters)]
    preset = {"preset": parameters.preset} if "preset" in known else {}
    try:
        defaults = resolve_defaults(build_parameters(name, {**suite.get(name, {}), **preset}), given.task)
    except UserError:  # there is none for this data set
        return {}
    stated = settings_of(row)
    differing = [key for key in known if key not in stated and getattr(parameters, key) != getattr(defaults, key)]
    if any(
        getattr(defaults, key) is None for key in differing
    ):  # it resolves to a value that may be the one that was set
        try:
            plain = stated_parameters(build_method(name, given.teacher, given.task, defaults, given.seed))
        except UserError:
            plain = {}
        own = stated_parameters(method)
        differing = [key for key in differing if key not in plain or plain[key] != own.get(key)]
    return {key: getattr(parameters, key) for key in differing}
