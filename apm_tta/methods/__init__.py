"""Test-time adaptation methods, one file each; every file of this folder that holds a method is found by itself."""

from __future__ import annotations

import importlib
import pkgutil

from apm_tta.methods.base import METHODS, Batch, Method, Predictions, register
from apm_tta.methods.parameters import build_parameters

__all__ = ["METHODS", "Batch", "Method", "Predictions", "build_parameters", "register"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
