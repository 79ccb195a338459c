"""Records -> numbers -> tables."""

from __future__ import annotations

from apm_tta.report.write import write_report

__all__ = ["write_report"]
