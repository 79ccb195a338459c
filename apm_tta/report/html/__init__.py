"""``report.html``: one file that opens offline, with tables, charts, and sample images with every method's answer."""

from __future__ import annotations

from apm_tta.report.html.page import HTML_FILE, write_html
from apm_tta.report.html.samples import Island, Islands

__all__ = ["HTML_FILE", "Island", "Islands", "write_html"]
