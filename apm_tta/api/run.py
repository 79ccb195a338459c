"""Run a suite from Python: the options and checks of ``run-bench SUITE``, frames in place of a printed table."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import numpy as np
from typing_extensions import Unpack

from apm_tta.api.run_folder import Run, to_path
from apm_tta.errors import UnknownName, UserError
from apm_tta.harness import run as harness
from apm_tta.harness.estimate import Estimate
from apm_tta.harness.estimate import estimate as estimate_request
from apm_tta.harness.request.part import parse_part
from apm_tta.harness.request.run_request import RunRequest, resolve_request
from apm_tta.harness.request.suite import Suite
from apm_tta.harness.streams import SETTINGS
from apm_tta.method_rows import split_rows
from apm_tta.plain_data import parse_integer
from apm_tta.system.stop_signals import stop_says, stoppable
from apm_tta.wording import for_shell

Names = str | Sequence[str]
Numbers = int | str | Sequence[int]


class RunOptions(TypedDict, total=False):
    """Options of a run; one that is left out or None is the suite's own, or the default of ``run-bench``.

    Several names or numbers are a list, or a comma-separated string as on the command line. Among ``methods`` may be
    variants, ``apm[iterations=60]``: rows of their own under the settings in brackets.
    """

    methods: Names
    teacher: str
    classifier: str
    support: str | Path
    prompts: str | Path
    shots: int
    dataset: str
    data_root: str | Path
    subset: str | None
    limit: int
    clean: bool
    foreign: str | None
    domains: Names
    corruptions: Names
    severities: Numbers
    jpeg_quality: int | str | None
    crop_scale: tuple[float, float]
    setting: str
    gamma: float
    classes_per_batch: int
    window: int | None
    reset: str | int | None
    seeds: Numbers
    batch_size: int
    precision: str
    settings: Mapping[str, Mapping[str, Any]]
    out: str | Path
    allow_code: bool
    force_new: bool
    shard_size: int
    shard_range: str | tuple[int, int]
    plan: str | Path
    devices: Names
    ray: str
    gpu_share: float
    ship: bool
    workers: int
    memory: float
    feature_cache: bool
    quiet: bool


F = TypeVar("F", bound=Callable[..., Any])


def _shows_its_options(function: F) -> F:
    """Give a function of ``suite`` and ``RunOptions`` a signature that lists them, for completion in a notebook."""
    first = next(iter(inspect.signature(function).parameters.values()))
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in RunOptions.__annotations__.items()
    ]
    function.__signature__ = inspect.Signature([first, *options])  # type: ignore[attr-defined]
    return function


@_shows_its_options
def run(suite: str, **options: Unpack[RunOptions]) -> Run:
    """Compute what is missing of a run, write its report, and open it.

    The same as ``run-bench SUITE``: a run that was stopped resumes with the same ``out``, and a folder of another run
    is refused. A warning says where images could not be read.

    Args:
        suite: name, as ``run-bench list suites`` prints it.
        options: as on the command line, ``--`` left out and ``_`` for ``-``; see ``RunOptions``. ``--set
            apm.iterations=40`` is ``settings={"apm": {"iterations": 40}}``.

    Returns:
        The run: ``results`` per cell, ``answers()`` per image.

    Raises:
        UserError: with the line that the command would print.

    Example:
        >>> import apm_tta
        >>> run = apm_tta.run("demo", methods=["zeroshot", "mta"], corruptions=[], limit=20, quiet=True)
        >>> run.results[["method", "n"]].values.tolist()
        [['zeroshot', 20], ['mta', 20]]
    """
    found = run_request(resolve(suite, options))
    if found.written is not None and found.written.errors:
        warnings.warn(found.written.missing_answers(), stacklevel=2)
    return found


@_shows_its_options
def estimate(suite: str, **options: Unpack[RunOptions]) -> Estimate:
    """Estimate what a run would take, from a few images; nothing is written. The same as ``--dry-run``.

    Args:
        suite: name, as ``run-bench list suites`` prints it.
        options: see ``run``.

    Returns:
        The estimate; ``text()`` is what the command prints.

    Raises:
        UserError: with the line that the command would print.
    """
    return estimate_request(resolve(suite, options))


def resolve(suite: str, options: Mapping[str, Any], *, json: bool = False) -> RunRequest:
    """Resolve the options of ``run`` and check them.

    Args:
        suite: name of the suite.
        options: see ``RunOptions``.
        json: whether events are printed as lines of JSON.

    Raises:
        UserError: for the first unknown option or invalid value. Exit code 2.
    """
    parameters = {name for setting in SETTINGS.names() for name in SETTINGS.get(setting).model_fields}
    known = [*RunOptions.__annotations__, *sorted(parameters - {*RunOptions.__annotations__})]
    for name in options:
        if name not in known:
            raise UnknownName("option", name, known)
    given = {name: _CONVERT.get(name, _as_it_is)(value) for name, value in options.items() if value is not None}
    of_suite = {name: value for name, value in given.items() if name in Suite.model_fields}
    others = {name: value for name, value in given.items() if name not in {*Suite.model_fields, *parameters}}
    if stream := {name: value for name, value in given.items() if name in parameters}:
        of_suite["stream"] = stream
    if "shard_range" in others:
        others["part"] = parse_part(others.pop("shard_range"))
    return resolve_request(suite, of_suite, json=json, **others)


def run_request(request: RunRequest) -> Run:
    """Compute what is missing of a run and open it; of a part of a run there is no report yet.

    Raises:
        UserError: when the run cannot be carried out; what was finished is kept.
    """
    found = Run(harness.run(request))
    if request.part is None:
        again = for_shell(["run-bench", "report", found.folder])
        with stoppable(), stop_says(f"the run is complete: {again} writes its tables"):
            if (report := found.report()).unwritten:
                raise UserError(report.unwritten)
    return found


def _as_it_is(value: Any) -> Any:
    return value


def _listed(value: Any) -> list[Any]:
    """Split a text at its commas, and make a list of one value."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, np.ndarray):
        return list(value.reshape(-1))
    return list(value) if isinstance(value, Iterable) else [value]


def _integers(value: Any) -> list[Any]:
    """Make a list of whole numbers, which a text has between commas; what is none is left for the suite to refuse."""
    if not isinstance(value, str):
        return _listed(value)
    numbers: list[Any] = _listed(value)
    with suppress(ValueError):
        return [parse_integer(part) for part in numbers]
    return numbers


def _by_method(value: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(value, Mapping) or not all(isinstance(each, Mapping) for each in value.values()):
        raise UserError(f"settings are of the form {{'apm': {{'iterations': 40}}}}, not {value!r}", exit_code=2)
    return {method: dict(each) for method, each in value.items()}


_CONVERT: dict[str, Callable[[Any], Any]] = {
    "methods": lambda value: split_rows(value) if isinstance(value, str) else _listed(value),
    **dict.fromkeys(("domains", "corruptions"), _listed),
    **dict.fromkeys(("severities", "seeds"), _integers),
    **dict.fromkeys(("data_root", "support", "prompts", "out", "plan"), to_path),
    "devices": lambda value: [str(name) for name in _listed(value)],
    "settings": _by_method,
}
