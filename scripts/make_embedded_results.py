"""Make ``results/embedded/`` and the README's table: ``python scripts/make_embedded_results.py``.

It runs the demo with every method, the APM with each of its targets, and keeps its tables, then runs the demo as in the
README and inserts the resulting table there, along with the answers of its report.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from pathlib import Path

from apm_tta.cli import main
from apm_tta.report.aggregate import merge_seeds
from apm_tta.report.html.questions import answer_questions
from apm_tta.report.run_data import read_report_data

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "results" / "embedded"
README = ROOT / "README.md"
METHODS = "all,apm[target=vte],apm[target=mta]"
"""All of them, and ``apm``, whose target is ``view0``, fitted to the others too: what the fit does, what the target."""
ARGUMENTS = ["demo", "--methods", METHODS, "--limit", "300", "--severities", "5"]
KEPT = [
    "results.csv",
    "iterations.csv",
    "calibration.csv",
    "trust.csv",
    "results.md",
    "results.tex",
    "run.yaml",
    "report.html",
]


def make(readme_only: bool) -> int:
    """Run the demo and replace the stored results and the README's table; return the exit code of ``run-bench``."""
    with tempfile.TemporaryDirectory() as folder:
        all_methods, plain = Path(folder) / "all", Path(folder) / "plain"
        if not readme_only:
            if code := main([*ARGUMENTS, "--out", str(all_methods)]):
                return code
            FOLDER.mkdir(exist_ok=True)
            for name in KEPT:
                shutil.copy(all_methods / name, FOLDER / name)
        if code := main(["demo", "--out", str(plain)]):
            return code
        text = (plain / "results.md").read_text(encoding="utf-8")
        data = read_report_data(plain)
        questions = answer_questions(data, merge_seeds(data.results))
        replace_section("demo", re.sub(r"^#", "###", text, flags=re.MULTILINE))
        replace_section("questions", "\n".join(f"* **{question}** {answer}" for question, answer in questions))
    return 0


def replace_section(section: str, text: str) -> None:
    """Replace the README's text between the markers of ``section``."""
    begin, end = f"<!-- {section}: begin -->", f"<!-- {section}: end -->"
    before, rest = README.read_text(encoding="utf-8").split(begin)
    README.write_text(f"{before}{begin}\n{text.strip()}\n{end}{rest.split(end)[1]}", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readme-only", action="store_true", help="Make the README's table alone.")
    sys.exit(make(parser.parse_args().readme_only))
