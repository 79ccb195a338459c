"""Makes ``results/embedded/`` and the README's table: ``python scripts/make_embedded_results.py``.

It runs the demo with every method and keeps its tables, then the demo as the README has it and puts what it prints
there, with the answers that its report gives.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path

from apm_tta.cli import main
from apm_tta.report.aggregate import over_seeds
from apm_tta.report.html.questions import answers
from apm_tta.report.run_data import read_report_data

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "results" / "embedded"
README = ROOT / "README.md"
WORDS = ["demo", "--methods", "all", "--limit", "300", "--severities", "5"]
KEPT = ["results.csv", "iterations.csv", "calibration.csv", "results.md", "results.tex", "run.yaml", "report.html"]


def make() -> int:
    """Runs twice, and replaces what was kept; the exit code of ``run-bench``."""
    with tempfile.TemporaryDirectory() as folder:
        every, plain = Path(folder) / "every", Path(folder) / "plain"
        code = main([*WORDS, "--out", str(every)]) or main(["demo", "--out", str(plain)])
        if code:
            return code
        FOLDER.mkdir(exist_ok=True)
        for name in KEPT:
            shutil.copy(every / name, FOLDER / name)
        text = (plain / "results.md").read_text(encoding="utf-8")
        data = read_report_data(plain)
        questions = answers(data, over_seeds(data.results))
        put("demo", re.sub(r"^#", "###", text, flags=re.MULTILINE))
        put("questions", "\n".join(f"* **{question}** {answer}" for question, answer in questions))
    return 0


def put(section: str, text: str) -> None:
    """Replaces what the README has between the marks of ``section``."""
    begin, end = f"<!-- {section}: begin -->", f"<!-- {section}: end -->"
    before, rest = README.read_text(encoding="utf-8").split(begin)
    README.write_text(f"{before}{begin}\n{text.strip()}\n{end}{rest.split(end)[1]}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(make())
