"""The usual causes of another accuracy, one file per cause; every file of this folder is imported."""

from __future__ import annotations

import importlib
import pkgutil

from apm_tta.verification.causes.base import CAUSES, Attempt, Cause

__all__ = ["CAUSES", "Attempt", "Cause"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
