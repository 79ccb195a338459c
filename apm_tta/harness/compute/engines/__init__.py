"""What computes the shards; an engine decides where and in which order, never what."""

from __future__ import annotations

from apm_tta.harness.compute.engines import local, ray, serial  # noqa: F401  each registers its engine
from apm_tta.harness.compute.engines.base import ENGINES, Engine

__all__ = ["ENGINES", "Engine"]
