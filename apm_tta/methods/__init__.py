"""Test-time adaptation methods, one file each; every file of this folder that holds a method is found by itself."""

from __future__ import annotations

import importlib
import pkgutil

from apm_tta.methods.base import METHODS, Cost, Method, Predictions, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.build import build_method
from apm_tta.methods.parameters import build_parameters
from apm_tta.methods.views import ViewSpec

__all__ = [
    "METHODS",
    "Batch",
    "Cost",
    "Method",
    "Predictions",
    "ViewSpec",
    "build_method",
    "build_parameters",
    "register",
]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
