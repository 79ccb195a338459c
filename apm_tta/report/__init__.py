"""The report of a run: from records to numbers to tables."""

from __future__ import annotations

from apm_tta.report.write import ERRORS_FILE, Report, write_report

__all__ = ["ERRORS_FILE", "Report", "write_report"]
