"""The command that makes a run's numbers again."""

from __future__ import annotations

from apm_tta.report.run_data import ReportData
from apm_tta.wording import for_shell


def reproducing_command(data: ReportData) -> str:
    """Return a command, quoted for a shell, that makes the numbers of a run; empty where the run does not record one.

    It names the data set's folder, and the kind of device where the run had one: another adds in another order.
    """
    words = list(data.manifest.command)
    if not words:
        return ""
    if data.manifest.data_root is not None and "--data-root" not in words:  # as earlier versions recorded it
        words += ["--data-root", data.manifest.data_root]
    if len(kinds := {site.device_type for site in data.sites.distinct}) == 1:
        words += ["--devices", *kinds]
    return for_shell(words)
