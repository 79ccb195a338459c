"""Which code a user-defined method consists of, so that an edited one never continues with the answers of another."""

from __future__ import annotations

from apm_tta.sources.method_source import Source, method_source

__all__ = ["Source", "method_source"]
