"""What one run is asked for, resolved once: parsed, checked, and read by everything that follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from apm_tta.data.cards import DatasetCard, load_card
from apm_tta.data.data_root import resolve_data_root
from apm_tta.data.sample import Condition
from apm_tta.devices import AUTO, resolve_devices
from apm_tta.errors import UserError
from apm_tta.harness.plan import check_setting
from apm_tta.harness.request.suite import Suite, load_suite
from apm_tta.methods import METHODS, build_parameters
from apm_tta.teachers import TeacherName, parse_teacher_name

_GIB = 2**30


@dataclass(frozen=True)
class RunRequest:
    """One run as it was asked for; what decides a number is in ``suite``, the rest is where and how.

    Attributes:
        suite: with overrides in place of its fields; its methods are named one by one.
        every_method: whether ``all`` was asked for, so that methods which cannot work with the teacher are left out.
        parameters: by method, in the order of the table, those included that another one wants beside it.
        conditions: in the order of the table.
        card: of the data set.
        teacher: name and family.
        data_root: where the data set lies; None for what the package carries, or where nobody said.
        support: labelled images for prototypes and nearest neighbours, a folder per class; None for none.
        out: run folder; None for a new one below ``results/<suite>/``. One that holds the same run is gone on with.
        force_new: where ``out`` exists, a new folder beside it is taken.
        devices: of this machine, a process each where there are several.
        device_names: the same as they were asked for: ``cpu``, ``cuda``, ``cuda:N``, ``auto``, ``all``.
        engine: name of the engine.
        ray: address of a Ray cluster, ``auto``, or ``local`` for one that is started here.
        gpu_share: of one GPU, for every task of Ray.
        part: ``(i, n)``: the i-th of n parts of the work, counted from 1; None for all of it.
        memory: bytes that a method which can choose may hold; None is a share of what is free.
        workers: loading processes; None is ``default_workers``.
        feature_cache: whether the teacher's features are kept on disk, and taken from there.
        quiet: no progress bar.
        json: events as lines of JSON on standard output, no progress bar.
    """

    suite: Suite
    every_method: bool
    parameters: Mapping[str, Any]
    conditions: tuple[Condition, ...]
    card: DatasetCard
    teacher: TeacherName
    data_root: Path | None
    support: Path | None
    out: Path | None
    force_new: bool
    devices: tuple[torch.device, ...]
    device_names: tuple[str, ...]
    engine: str
    ray: str
    gpu_share: float
    part: tuple[int, int] | None
    memory: int | None
    workers: int | None
    feature_cache: bool
    quiet: bool
    json: bool


def resolve_request(
    suite_name: str,
    overrides: Mapping[str, Any] | None = None,
    *,
    data_root: Path | None = None,
    support: Path | None = None,
    out: Path | None = None,
    force_new: bool = False,
    devices: Sequence[str] = (AUTO,),
    engine: str | None = None,
    ray: str | None = None,
    gpu_share: float = 1.0,
    part: tuple[int, int] | None = None,
    memory: float | None = None,
    workers: int | None = None,
    feature_cache: bool = False,
    quiet: bool = False,
    json: bool = False,
) -> RunRequest:
    """Resolve what a run is asked for; nothing of the data or of the teacher is opened.

    Args:
        suite_name: of the suite.
        overrides: values in place of the suite's fields; ``settings`` are merged key by key.
        data_root: see ``resolve_data_root``.
        support: see ``RunRequest``, as all that follow and are not named.
        devices: names, see ``resolve_devices``.
        engine: None is ``ray`` where an address is given, else ``serial`` for one device, ``local`` for several.
        ray: address of a cluster; None for none.
        memory: GiB.

    Raises:
        UserError: one line for the first name, value or device that does not exist. Exit code 2.
    """
    _check_amounts(gpu_share=gpu_share, memory=memory, workers=workers)
    suite, every = load_suite(suite_name, overrides), False
    if suite.methods == ("all",):
        suite, every = suite.model_copy(update={"methods": tuple(METHODS.names())}), True
    parameters = _parameters(suite)
    found = tuple(resolve_devices(devices))
    conditions = tuple(suite.conditions())
    check_setting(suite.setting, suite.resets)
    card = load_card(suite.dataset)
    return RunRequest(
        suite=suite,
        every_method=every,
        parameters=parameters,
        conditions=conditions,
        card=card,
        teacher=parse_teacher_name(suite.teacher),
        data_root=resolve_data_root(card, data_root),
        support=support,
        out=out,
        force_new=force_new,
        devices=found,
        device_names=tuple(devices),
        engine=engine or ("ray" if ray is not None else "local" if len(found) > 1 else "serial"),
        ray=ray or AUTO,
        gpu_share=gpu_share,
        part=part,
        memory=None if memory is None else int(memory * _GIB),
        workers=workers,
        feature_cache=feature_cache,
        quiet=quiet,
        json=json,
    )


def _check_amounts(*, gpu_share: float, memory: float | None, workers: int | None) -> None:
    """Refuse amounts that there cannot be.

    Raises:
        UserError: naming the first. Exit code 2.
    """
    amounts = {"gpu_share": gpu_share, "memory": memory}
    for name, amount in amounts.items():
        if amount is not None and not (isinstance(amount, int | float) and 0 < amount < float("inf")):
            raise UserError(f"{name} {amount!r} is not a number above 0", exit_code=2)
    if workers is not None and not (isinstance(workers, int) and workers >= 0):
        raise UserError(f"workers {workers!r} is not a whole number from 0", exit_code=2)


def _parameters(suite: Suite) -> dict[str, Any]:
    """Build the parameters of every method, and of those that one of them wants beside it."""
    parameters = {name: build_parameters(name, suite.settings.get(name, {})) for name in suite.methods}
    for name, chosen in list(parameters.items()):
        for other in METHODS.get(name).beside(chosen):
            parameters.setdefault(other, build_parameters(other, suite.settings.get(other, {})))
    return parameters
