"""A benchmark suite for test-time adaptation that cannot be silently wrong.

The names below are imported at first use, so that ``import apm_tta`` costs nothing.

Example:
    >>> import apm_tta
    >>> run = apm_tta.run("demo", methods=["zeroshot", "mta"], corruptions=[], limit=20, quiet=True)
    >>> run.results[["method", "n"]].values.tolist()
    [['zeroshot', 20], ['mta', 20]]
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apm_tta.package_files import note_files

if TYPE_CHECKING:
    from apm_tta.api.check import check_dataset
    from apm_tta.api.method import ImagePredictions, LoadedMethod, load_method
    from apm_tta.api.pack import pack_dataset
    from apm_tta.api.run import estimate, run
    from apm_tta.api.run_folder import Run, compare, merge, open_run
    from apm_tta.api.verify import verify
    from apm_tta.apm import APM, APMConfig, APMOutput, DistillConfig, Distilled, distill
    from apm_tta.data.corruptions import corrupt
    from apm_tta.data.dataset import open_dataset
    from apm_tta.data.sample import Condition
    from apm_tta.errors import UserError
    from apm_tta.methods import Batch, Cost, Method, Predictions, ViewSpec, register
    from apm_tta.teachers import Preprocessing, load_teacher

note_files(Path(__file__).parent)

_MODULES = {
    "apm_tta.api.check": ("check_dataset",),
    "apm_tta.api.method": ("ImagePredictions", "LoadedMethod", "load_method"),
    "apm_tta.api.pack": ("pack_dataset",),
    "apm_tta.api.run": ("estimate", "run"),
    "apm_tta.api.run_folder": ("Run", "compare", "merge", "open_run"),
    "apm_tta.api.verify": ("verify",),
    "apm_tta.apm": ("APM", "APMConfig", "APMOutput", "DistillConfig", "Distilled", "distill"),
    "apm_tta.data.corruptions": ("corrupt",),
    "apm_tta.data.dataset": ("open_dataset",),
    "apm_tta.data.sample": ("Condition",),
    "apm_tta.errors": ("UserError",),
    "apm_tta.methods": ("Batch", "Cost", "Method", "Predictions", "ViewSpec", "register"),
    "apm_tta.teachers": ("Preprocessing", "load_teacher"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "APM",
    "APMConfig",
    "APMOutput",
    "Batch",
    "Condition",
    "Cost",
    "DistillConfig",
    "Distilled",
    "ImagePredictions",
    "LoadedMethod",
    "Method",
    "Predictions",
    "Preprocessing",
    "Run",
    "UserError",
    "ViewSpec",
    "check_dataset",
    "compare",
    "corrupt",
    "distill",
    "estimate",
    "load_method",
    "load_teacher",
    "merge",
    "open_dataset",
    "open_run",
    "pack_dataset",
    "register",
    "run",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'apm_tta' has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_MODULE_OF[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
