"""A benchmark suite for test-time adaptation that cannot be silently wrong.

The names below are imported at first use, so that ``import apm_tta`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from apm_tta.apm import APM, APMConfig, APMOutput, DistillConfig, Distilled, distill
    from apm_tta.data.corruptions import corrupt
    from apm_tta.teachers import load_teacher

_HOME = {
    "APM": "apm_tta.apm",
    "APMConfig": "apm_tta.apm",
    "APMOutput": "apm_tta.apm",
    "DistillConfig": "apm_tta.apm",
    "Distilled": "apm_tta.apm",
    "distill": "apm_tta.apm",
    "corrupt": "apm_tta.data.corruptions",
    "load_teacher": "apm_tta.teachers",
}

__all__ = [
    "APM",
    "APMConfig",
    "APMOutput",
    "DistillConfig",
    "Distilled",
    "corrupt",
    "distill",
    "load_teacher",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'apm_tta' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
