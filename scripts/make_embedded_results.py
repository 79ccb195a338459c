"""Make ``results/embedded/``: ``python scripts/make_embedded_results.py --work FOLDER``.

Every method on both embedded teachers, in eight runs (``parts``): clean and all 15 corruptions at severity 5 with seed
0, and the demo's five corruptions at severities 3 and 5 with seeds 0, 1 and 2. Methods of at least 50 images per second
answer 1,000 images per condition with one seed and 300 with three, the others 300 and 100. The runs lie in FOLDER;
stopped, the same command goes on where it was, and a part that is complete is in ``results/embedded/`` already.
``results/embedded/README.md`` is made of all.

``--demo`` runs the demo and inserts what it prints into ``docs/demo.md``, and the answers of its report into
``docs/tables.md``; ``--page`` only makes the page again.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
from pathlib import Path

import pandas as pd
from results_folders import CHANGED_FILE, SECONDS_FILE, TABLES, Part, run_parts

from apm_tta.cli import main
from apm_tta.harness.request.suite import load_suite
from apm_tta.methods import METHODS
from apm_tta.report.aggregate import merge_seeds
from apm_tta.report.html.questions import answer_questions
from apm_tta.report.render import markdown
from apm_tta.report.run_data import read_report_data
from apm_tta.report.table import Table, number, signed
from apm_tta.teachers.embedded import FOLDERS
from apm_tta.wording import for_shell

ROOT = Path(__file__).resolve().parent.parent
FOLDER, DOCS = ROOT / "results" / "embedded", ROOT / "docs"
KEPT = (*TABLES, "iterations.csv", "trust.csv", "run.yaml")
FAST, SLOW = "fast", "slow"
IMAGES = {"severity-5": {FAST: 1000, SLOW: 300}, "three-seeds": {FAST: 300, SLOW: 100}}
"""Images per condition, about a third with three seeds: so neither kind of part takes longer than the other."""
TARGETS = ("apm[target=vte]", "apm[target=mta]")
CORRUPTIONS = load_suite("imagenet-c").corruptions
SIGNIFICANT = 0.05
ZERO_SHOT, STATISTICS = "zeroshot", "norm"
"""Every method is compared with both: most of what the online methods gain comes from the batch's statistics alone."""


def parts() -> list[Part]:
    """Return the eight runs, in the order in which they are worth having."""
    slow = ",".join(["zeroshot", "apm", *TARGETS, *(name for name in METHODS.names() if not METHODS.get(name).fast)])
    methods = {FAST: "fast", SLOW: slow}
    conditions = {
        "severity-5": ("--corruptions", ",".join(CORRUPTIONS), "--severities", "5", "--foreign", "sklearn-digits"),
        "three-seeds": ("--severities", "3,5", "--seeds", "0,1,2"),
    }
    return [
        Part(
            f"{teacher}/{name}-{speed}",
            ("demo", "--teacher", teacher, *words, "--methods", methods[speed], "--limit", str(IMAGES[name][speed])),
        )
        for name, words in conditions.items()
        for speed in (FAST, SLOW)
        for teacher in reversed(FOLDERS)
    ]


def page(folder: Path) -> str:
    """Return the page on what the tables in ``folder`` say, for the parts that are there."""
    found = [part for part in parts() if (folder / part.name / "results.csv").is_file()]
    lacking = ", ".join(part.name for part in parts() if part not in found)
    missing = f" Not made yet: {lacking}." if lacking else ""
    hours = sum(json.loads((folder / part.name / SECONDS_FILE).read_text()) for part in found) / 3600
    lines = [
        "# The embedded benchmark",
        "",
        f"Made by `python scripts/make_embedded_results.py --work FOLDER` in {hours:.1f} hours on 2 CPU cores: every "
        "method on both embedded teachers. Column n states the images per condition, fewer for the methods below 50 "
        f"images per second.{missing}",
        "",
    ]
    for part in found:
        table = summary(*(pd.read_csv(folder / part.name / name) for name in ("results.csv", CHANGED_FILE)))
        lines += [f"## {part.name}", "", f"`run-bench {for_shell(part.words)}`", "", markdown(table), ""]
    return "\n".join(lines).rstrip() + "\n"


def summary(results: pd.DataFrame, changed: pd.DataFrame) -> Table:
    """Tabulate per method: top-1, the conditions under which it differs significantly, and the answers it changes."""
    shares, rows = changed.set_index("method")["changed"], []
    corrupted = results["corruption"] != "clean"
    by_method = results[corrupted].groupby("method")["top1"].mean()
    for method, own in results.groupby("method", sort=False):
        significant = own[own["p_holm"] < SIGNIFICANT]
        signs = (significant["delta_zeroshot"] > 0, significant["delta_zeroshot"] < 0)
        tested = own["p_holm"].notna().any()
        rows.append(
            [
                str(method),
                str(int(own["n"].max())),
                number(own.loc[~corrupted, "top1"].mean()),
                number(own.loc[corrupted, "top1"].mean()),
                signed(by_method[method] - by_method[ZERO_SHOT]),
                *([signed(by_method[method] - by_method[STATISTICS])] if STATISTICS in by_method else []),
                *(f"{int(each.sum())} of {len(own)}" if tested else "n/a" for each in signs),
                number(shares[method]),
            ]
        )
    against = [f"vs {name}" for name in (ZERO_SHOT, STATISTICS) if name in by_method]
    headers = ["method", "n", "clean", "corrupted", *against, "better", "worse", "changed %"]
    note = (
        "n images per condition; top-1 in percent, clean and as the mean over the corruptions, whose difference from "
        "zeroshot (and from norm, the batch's statistics alone, where the teacher has batch normalisation) is in "
        "percentage points; better and worse: the conditions (of every seed) under which the difference from zeroshot "
        "is significant by McNemar's test at 5 % after Holm's correction over the methods under the condition; "
        "changed: answers other than zeroshot's, over all conditions."
    )
    return Table(headers, rows, 1, note=note)


def make_demo() -> int:
    """Run the demo and replace its tables and answers on their pages; return the exit code of ``run-bench``."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # no page is to state where it was made
        run = Path("demo")
        if code := main(["demo", "--out", str(run)]):
            return code
        text = (run / "results.md").read_text(encoding="utf-8")
        data = read_report_data(run)
        questions = answer_questions(data, merge_seeds(data.results))
        replace_section("demo.md", "demo", re.sub(r"^#", "##", text, flags=re.MULTILINE))
        answers = "\n".join(f"* **{question}** {answer}" for question, answer in questions)
        replace_section("tables.md", "questions", answers)
    return 0


def replace_section(page: str, section: str, text: str) -> None:
    """Replace the text of a page between the markers of ``section``."""
    begin, end = f"<!-- {section}: begin -->", f"<!-- {section}: end -->"
    before, rest = (DOCS / page).read_text(encoding="utf-8").split(begin)
    (DOCS / page).write_text(f"{before}{begin}\n{text.strip()}\n{end}{rest.split(end)[1]}", encoding="utf-8")


def make(options: argparse.Namespace) -> int:
    """Do what was asked for; return the exit code of ``run-bench``."""
    if options.demo:
        return make_demo()
    chosen = [part for part in parts() if options.only in part.name]
    code = run_parts(chosen, options.work, FOLDER, KEPT) if options.work else 0
    (FOLDER / "README.md").write_text(page(FOLDER), encoding="utf-8")
    return code


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--work", type=Path, help="folder for the runs, which are resumed")
    what.add_argument("--page", action="store_true", help="only make results/embedded/README.md again")
    what.add_argument("--demo", action="store_true", help="only make what the demo prints")
    parser.add_argument("--only", default="", help="only the parts with this in their names, such as embedded-resnet/")
    sys.exit(make(parser.parse_args()))
