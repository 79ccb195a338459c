"""Two processes on one device."""

from __future__ import annotations

import time

from apm_tta.api.run import resolve
from apm_tta.api.run_folder import Run
from apm_tta.harness.run import run
from benchmarks.gpu.runs import drawn_teacher
from benchmarks.gpu.section import Found, Section, Setting

METHOD = "mta"


def measure(setting: Setting) -> Found:
    """Run the same by one process and by two, and compare their answers and their time."""
    sizes, name = setting.sizes, str(setting.device)
    found = Found(("processes", "seconds, whole run", "images/s while answering"))
    answers = []
    for count in (1, 2):
        started = time.perf_counter()
        request = resolve(
            "folder",
            {
                **{"methods": [METHOD], "teacher": drawn_teacher(setting), "limit": 2 * sizes.dear},
                **{"data_root": setting.folder / "photographs", "shard_size": sizes.dear},
                **{"batch_size": sizes.batch_dear, "settings": {METHOD: sizes.settings.get(METHOD, {})}},
                **{"devices": [name] * count, "out": setting.folder / f"run-{count}", "quiet": True},
            },
        )
        folder = run(request)
        seconds = time.perf_counter() - started
        table = Run(folder).answers().sort_values("id")
        answers.append(table[["id", "prediction"]].reset_index(drop=True))
        per_image = table["batch_ms"].mean()
        found.rows.append((count, f"{seconds:.1f}", f"{1000 * count / per_image:,.1f}"))
    if not answers[0].equals(answers[1]):
        found.failed.append("two processes on one device answered otherwise than one")
    found.remarks.append(f"{METHOD}; each process loads the teacher first, which the second column contains.")
    return found


SECTION = Section(
    "Two processes on one device", f"a run of {METHOD} by one process and by two, with equal answers", measure
)
