"""What a run would find on this machine: versions, devices, room, caches, data, and what is missing for what."""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, entry_points, requires, version
from pathlib import Path

import torch
from huggingface_hub.constants import HF_HUB_CACHE

from apm_tta.apm.memory import free_memory
from apm_tta.data.cards import card_names, load_card
from apm_tta.data.check import presence
from apm_tta.data.data_root import VARIABLE, resolve_data_root
from apm_tta.errors import UserError
from apm_tta.harness.request.suite import load_suite
from apm_tta.package_commit import package_code
from apm_tta.resources import SUITES, yaml_names
from apm_tta.system.cache_folder import cache_doubts, default_cache
from apm_tta.system.cores import bound_cores, usable_cores
from apm_tta.teachers import load_teacher
from apm_tta.wording import pluralise, visible

_HERE = ("carried", "found")
_PACKAGE = Path(__file__).parents[1]


@dataclass
class Examination:
    """What was found.

    Attributes:
        sections: by their titles, lines for a reader.
        missing: a line for each thing that was asked for and is not here.
    """

    sections: dict[str, list[str]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return all sections, each behind its title."""
        shown = []
        for title, lines in self.sections.items():
            shown += [title, *(visible(f"  {line}") for line in lines)]
        return shown


def examine(suites: Sequence[str] = (), data_root: Path | None = None) -> Examination:
    """Look at this machine; nothing is downloaded where the Hugging Face hub is told to stay offline.

    Args:
        suites: names of suites of which nothing may be missing.
        data_root: where data sets lie; unless given from ``APM_TTA_DATA_ROOT``.

    Raises:
        UnknownName: for a suite that does not exist.
    """
    asked = [load_suite(name) for name in suites]
    every = [load_suite(name) for name in yaml_names(SUITES)]
    named = data_root or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    there = {card.name: presence(card, resolve_data_root(card, named)) for card in map(load_card, card_names())}
    absent = {name for name in {suite.teacher for suite in every} if not _is_here(name)}

    found = Examination()
    found.sections["versions"] = [_this_package(), f"Python {platform.python_version()}, {platform.platform()}"]
    found.sections["versions"] += [", ".join(f"{name} {_version(name)}" for name in _required())]
    found.sections["devices"] = list(_devices())
    found.sections["free disk"] = [
        f"{label} {path}: {_gigabytes(shutil.disk_usage(path).free)}"
        for label, path in (("run folders, below", Path.cwd()), ("temporary files,", Path(tempfile.gettempdir())))
    ]
    found.sections["caches"] = [
        f"of teachers (APM_TTA_CACHE): {default_cache()}, {_size(default_cache())}",
        f"of downloaded weights (HF_HOME): {HF_HUB_CACHE}, {_size(Path(HF_HUB_CACHE))}",
        *cache_doubts(),
    ]
    found.sections["data sets"] = [f"data root: {named or f'none; --data-root or {VARIABLE} names one'}"]
    for state in sorted({*there.values()}):
        found.sections["data sets"].append(f"{state}: {', '.join(name for name in there if there[name] == state)}")
    if others := list(_other_packages()):
        found.sections["of other packages"] = others
    lacking = Counter(suite.teacher for suite in every if suite.teacher in absent)
    without_data = sum(there[suite.dataset] not in _HERE for suite in every)
    found.sections["missing, and what for"] = [
        *([f"data sets: {pluralise(without_data, 'suite')} of {len(every)}"] if without_data else []),
        *(f"weights of {name}: default of {pluralise(number, 'suite')}" for name, number in lacking.items()),
        *(f"{name}: {use}" for name, use in (("ray", "--ray"),) if _version(name) == "missing"),
        *([] if torch.cuda.is_available() else ["a GPU: nothing needs one; most teachers are slow without"]),
    ] or ["nothing"]

    if named is not None and not named.is_dir():
        found.missing.append(f"the data root {named} is not a folder")
    for suite in asked:
        if there[suite.dataset] not in _HERE:
            card = load_card(suite.dataset)
            found.missing.append(f"{suite.name}: data set {card.name} ({there[card.name]}); to get it: {card.get}")
        if suite.teacher in absent:
            found.missing.append(f"{suite.name}: weights of {suite.teacher}; a run downloads them, given a network")
    if asked:
        found.sections["asked for"] = found.missing or [f"{suite.name}: everything is here" for suite in asked]
    return found


def _this_package() -> str:
    code = package_code(_PACKAGE)
    edited = "" if code.is_commit else ", edited"
    return f"apm-tta {_version('apm-tta')}, commit {code.commit[:12] + edited if code.commit else 'unknown'}"


def _required() -> list[str]:
    names = (re.match(r"[\w.-]+", line) for line in requires("apm-tta") or [] if "extra ==" not in line)
    return sorted(name[0] for name in names if name)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "missing"


def _devices() -> Iterator[str]:
    memory = _gigabytes(free_memory(torch.device("cpu")))
    yield f"cpu: {usable_cores()} of {pluralise(bound_cores(), 'core')} usable, {memory} of memory free"
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        yield f"cuda:{index}: {torch.cuda.get_device_name(index)}, {_gigabytes(free)} of {_gigabytes(total)} free"
    if not torch.cuda.is_available():
        build = f"is built for CUDA {torch.version.cuda}" if torch.version.cuda else "is built for CPUs alone"
        yield f"no GPU that torch sees; torch {build}"


def _is_here(teacher: str) -> bool:
    try:
        load_teacher(teacher)
    except UserError:
        return False
    return True


def _other_packages() -> Iterator[str]:
    for kind in ("methods", "teachers", "layouts", "engines"):
        for point in entry_points(group=f"apm_tta.{kind}"):
            yield f"{kind.removesuffix('s')} {point.name}: {point.value}"


def _size(folder: Path) -> str:
    if not folder.is_dir():
        return "empty"
    sizes = (entry.lstat().st_size for entry in folder.rglob("*") if entry.is_file() and not entry.is_symlink())
    return _gigabytes(sum(sizes))


def _gigabytes(number: int) -> str:
    return f"{number / 1e9:.1f} GB"
