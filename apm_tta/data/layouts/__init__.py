"""Layouts: how images and labels are stored on disk, one file per layout; every file of this folder is imported.

A layout knows the shape of a tree and nothing about any particular data set.
"""

from __future__ import annotations

import importlib
import pkgutil

from apm_tta.data.layouts.base import LAYOUTS, Entry, Layout, Survey
from apm_tta.data.layouts.corruption_tree import CorruptionTreeLayout

__all__ = ["LAYOUTS", "CorruptionTreeLayout", "Entry", "Layout", "Survey"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
