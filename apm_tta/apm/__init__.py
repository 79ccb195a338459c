"""The Asynchronous Perception Machine and how it is fitted to one image. Imports nothing but torch and NumPy."""

from __future__ import annotations

from apm_tta.apm.config import IMAGENET_MEAN, IMAGENET_STD, PRESETS, APMConfig, DistillConfig
from apm_tta.apm.distill import Distilled, distill
from apm_tta.apm.model import APM, APMOutput

__all__ = [
    "APM",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "PRESETS",
    "APMConfig",
    "APMOutput",
    "DistillConfig",
    "Distilled",
    "distill",
]
