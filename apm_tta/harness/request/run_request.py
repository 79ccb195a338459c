"""The request for one run, resolved once: parsed, checked, and read by everything that follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal

import torch

from apm_tta.data.cards import DatasetCard, load_card
from apm_tta.data.data_root import resolve_data_root
from apm_tta.data.layouts import LAYOUTS
from apm_tta.data.sample import FOREIGN, Condition
from apm_tta.devices import AUTO, resolve_devices
from apm_tta.errors import UserError
from apm_tta.harness.request.limits import MOST_MEMORY, MOST_SHARES, MOST_WORKERS
from apm_tta.harness.request.suite import Suite, command_words, load_suite, named_together, refuse_unused_settings
from apm_tta.method_rows import is_variant, method_of
from apm_tta.methods import METHODS, build_parameters
from apm_tta.methods.base import find_method
from apm_tta.precision import refuse_without_gpu
from apm_tta.teachers import TeacherName, parse_teacher_name

_GIB = 2**30
KEEP_EVERY_S = 300.0


@dataclass(frozen=True)
class RunRequest:
    """One run as requested: everything that decides a number is in ``suite``, the rest is where and how to run it.

    Attributes:
        suite: the suite, its fields replaced by the overrides; its methods are named one by one.
        every_method: ``all`` or ``fast`` where that was requested, so that methods which cannot work with the teacher
            are left out; else empty.
        parameters: by row, in the order of the table, including methods that another one requires beside it.
        conditions: in the order of the table.
        card: card of the data set.
        teacher: name and family.
        foreign: card of the data set of the foreign images, and its folder; None for none.
        data_root: folder of the data set; None for a data set that the package contains, or where none is given.
        support: folder of labelled images for prototypes and nearest neighbours, a subfolder per class; None for none.
        prompts: file of learned context vectors; None for none.
        out: run folder, which is resumed where it holds the same run; None for a new one below ``results/<suite>/``.
        allow_code: whether a teacher ``module:...`` may be imported and run.
        force_new: whether to make a new folder beside ``out`` where ``out`` exists.
        devices: devices of this machine, with a process per device where there are several.
        device_names: the same devices as requested: ``cpu``, ``cuda``, ``cuda:N``, ``auto``, ``all``.
        engine: name of the engine.
        ray: address of a Ray cluster, ``auto``, or ``local`` for one that is started on this machine.
        gpu_share: share of one GPU for each Ray task; None for as many as ``memory`` allows.
        ship: whether Ray's workers use this package as it is here.
        part: ``(i, n)``: the i-th of n parts of the work, counted from 1; None for all of it.
        memory: bytes that a method may use if its memory use is adjustable; None for a share of what is free.
        workers: number of loading processes; None for ``default_workers``.
        feature_cache: whether the teacher's features are stored on disk, and read from there.
        quiet: whether to hide the progress bar.
        json: whether to print events as lines of JSON on standard output, without a progress bar.
        keep_every: seconds after which an answer is kept at the latest, wherever that is in a shard or stream.
    """

    suite: Suite
    every_method: Literal["", "all", "fast"]
    parameters: Mapping[str, Any]
    conditions: tuple[Condition, ...]
    card: DatasetCard
    teacher: TeacherName
    foreign: tuple[DatasetCard, Path | None] | None
    data_root: Path | None
    support: Path | None
    prompts: Path | None
    out: Path | None
    allow_code: bool
    force_new: bool
    devices: tuple[torch.device, ...]
    device_names: tuple[str, ...]
    engine: str
    ray: str
    gpu_share: float | None
    ship: bool
    part: tuple[int, int] | None
    plan: Path | None
    memory: int | None
    workers: int | None
    feature_cache: bool
    quiet: bool
    json: bool
    keep_every: float = KEEP_EVERY_S

    @property
    def every_condition(self) -> tuple[Condition, ...]:
        """The conditions, and that of the foreign images where there are some."""
        return self.conditions if self.foreign is None else (*self.conditions, FOREIGN)

    def command(self) -> list[str]:
        """Return the words of a command that makes the same numbers, wherever it is started on this machine."""
        folders = {"--data-root": self.data_root, "--support": self.support, "--prompts": self.prompts}
        named = [(option, str(folder.absolute())) for option, folder in folders.items() if folder is not None]
        suite = self.suite
        if self.every_method:
            variants = filter(is_variant, suite.methods)
            suite = suite.model_copy(update={"methods": (self.every_method, *variants)})
        switches = ["--allow-code"] if self.allow_code else []
        return [*command_words(suite), *(word for pair in named for word in pair), *switches]


def resolve_request(
    suite_name: str,
    overrides: Mapping[str, Any] | None = None,
    *,
    data_root: Path | None = None,
    support: Path | None = None,
    prompts: Path | None = None,
    out: Path | None = None,
    allow_code: bool = False,
    force_new: bool = False,
    devices: Sequence[str] = (AUTO,),
    engine: str | None = None,
    ray: str | None = None,
    gpu_share: float | None = None,
    ship: bool = False,
    part: tuple[int, int] | None = None,
    plan: Path | None = None,
    memory: float | None = None,
    workers: int | None = None,
    feature_cache: bool = False,
    quiet: bool = False,
    json: bool = False,
    keep_every: float = KEEP_EVERY_S,
) -> RunRequest:
    """Resolve the request for a run, without opening any of the data or of the teacher.

    Args:
        suite_name: name of the suite.
        overrides: values that replace the suite's fields; ``settings`` are merged key by key.
        data_root: see ``resolve_data_root``.
        support: see ``RunRequest``, as for all arguments that are not listed here.
        devices: names of devices; see ``resolve_devices``.
        engine: name of the engine; None for ``ray`` where ``ray`` is given, else ``serial`` for one device and
            ``local`` for several.
        ray: address of a Ray cluster; None for none.
        memory: in GiB; see ``RunRequest``.

    Raises:
        UserError: one line for the first name, value or device that does not exist. Exit code 2.
    """
    _check_amounts(gpu_share=gpu_share, memory=memory, workers=workers)
    _check_switches(allow_code=allow_code, force_new=force_new, feature_cache=feature_cache, quiet=quiet, ship=ship)
    if ray is not None and not (isinstance(ray, str) and ray.strip()):
        raise UserError(f"ray {ray!r} is not the address of a cluster, auto or local", exit_code=2)
    suite = load_suite(suite_name, overrides)
    every_method = named_together(suite.methods)
    if every_method:
        names = [name for name in METHODS.names() if every_method == "all" or METHODS.get(name).fast]
        suite = suite.model_copy(update={"methods": (*names, *filter(is_variant, suite.methods))})
    for method in suite.methods:
        find_method(method)
    for method in (overrides or {}).get("settings", {}):
        METHODS.get(method)
    parameters = _parameters(suite)
    refuse_unused_settings(suite, overrides or {}, parameters)
    resolved_devices = tuple(resolve_devices(devices))
    for device in resolved_devices if ray is None else ():  # a cluster has its own
        refuse_without_gpu(suite.precision, device)
    conditions = tuple(suite.conditions())
    suite.streaming.setting.check(conditions, suite.streaming.reset)
    card = load_card(suite.dataset)
    return RunRequest(
        suite=suite,
        every_method=every_method,
        parameters=parameters,
        conditions=conditions,
        card=card,
        teacher=parse_teacher_name(suite.teacher),
        foreign=None if suite.foreign is None else _foreign(suite.foreign, data_root),
        data_root=resolve_data_root(card, data_root),
        support=support,
        prompts=prompts,
        out=out,
        allow_code=allow_code,
        force_new=force_new,
        devices=resolved_devices,
        device_names=tuple(devices),
        engine=engine or ("ray" if ray is not None else "local" if len(resolved_devices) > 1 else "serial"),
        ray=ray or AUTO,
        gpu_share=gpu_share,
        ship=ship,
        part=part,
        plan=plan,
        memory=None if memory is None else max(1, int(memory * _GIB)),
        workers=workers,
        feature_cache=feature_cache,
        quiet=quiet,
        json=json,
        keep_every=keep_every,
    )


def _foreign(name: str, data_root: Path | None) -> tuple[DatasetCard, Path | None]:
    """Return the card of the foreign images, and where they lie: below the same data root, unless they are carried."""
    card = load_card(name)
    return card, resolve_data_root(card, None if LAYOUTS.get(card.layout).carried else data_root)


def _check_amounts(*, gpu_share: Any, memory: Any, workers: Any) -> None:
    """Refuse impossible amounts.

    Raises:
        UserError: naming the first such amount, with one that is possible. Exit code 2.
    """
    amounts = (("gpu_share", gpu_share, MOST_SHARES, 0.5), ("memory", memory, MOST_MEMORY, 8))
    for name, amount, most, example in amounts:
        if amount is not None and not (_is_number(amount, Real) and 0 < amount <= most):
            raise UserError(f"{name} {amount!r} is not a number above 0 and up to {most}, such as {example}", 2)
    if workers is not None and not (_is_number(workers, Integral) and 0 <= workers <= MOST_WORKERS):
        raise UserError(f"workers {workers!r} is not a whole number from 0 to {MOST_WORKERS}, such as 4", 2)


def _check_switches(**switches: Any) -> None:
    """Refuse what is neither true nor false.

    Raises:
        UserError: naming the first such switch. Exit code 2.
    """
    for name, switch in switches.items():
        if not isinstance(switch, bool):
            raise UserError(f"{name} {switch!r} is neither True nor False", exit_code=2)


def _is_number(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _parameters(suite: Suite) -> dict[str, Any]:
    """Build the parameters of every row, and of the methods that one of them requires beside it."""
    parameters = {name: build_parameters(name, suite.settings.get(method_of(name), {})) for name in suite.methods}
    for name, chosen in list(parameters.items()):
        for other in find_method(name).companions(chosen):
            parameters.setdefault(other, build_parameters(other, suite.settings.get(other, {})))
    return parameters
