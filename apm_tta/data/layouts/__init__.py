"""How images and labels lie on disk, one file a layout; every file of this folder that holds one is found by itself.

A layout knows a tree's shape and nothing of any one data set.
"""

from __future__ import annotations

import importlib
import pkgutil

from apm_tta.data.layouts.base import LAYOUTS, Entry, Layout, Survey
from apm_tta.data.layouts.corruption_tree import CorruptionTreeLayout
from apm_tta.data.layouts.images import DamagedImage

__all__ = ["LAYOUTS", "CorruptionTreeLayout", "DamagedImage", "Entry", "Layout", "Survey"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
