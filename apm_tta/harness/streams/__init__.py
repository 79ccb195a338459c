"""Settings of streams: which images an online method sees, in which order, and how often."""

from __future__ import annotations

# Imported because each of them registers its setting.
from apm_tta.harness.streams import (  # noqa: F401
    continual,
    correlated,
    dirichlet,
    few_classes,
    gradual,
    iid,
    mixed,
    stored,
)
from apm_tta.harness.streams.setting import SETTINGS, Reset, StreamSetting, build_setting, register

__all__ = ["SETTINGS", "Reset", "StreamSetting", "build_setting", "register"]
