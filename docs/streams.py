"""Make ``docs/streams.md``: what online methods gain or lose when the stream is sorted by class.

``python docs/streams.py`` runs the embedded set twice, as independent and as correlated streams, with every method of
``--methods fast``, and writes the page and ``docs/streams.csv``, from which a test makes the page again.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pandas as pd

from apm_tta.cli import main
from apm_tta.methods import METHODS

PAGE, NUMBERS = Path(__file__).parent / "streams.md", Path(__file__).parent / "streams.csv"
SETTINGS = ("iid", "correlated")
WORDS = ["demo", "--teacher", "embedded-resnet", "--methods", "fast", "--limit", "300", "--severities", "5", "--quiet"]
HEAD = f"""# Streams decide conclusions

Made by `python docs/streams.py`: `run-bench {" ".join(WORDS[:-1])}` with `--setting iid` and with `--setting
correlated`. Top-1 in percent, the mean of the corruptions at severity 5; 300 images per
condition, each condition a stream of its own.

In an independent stream neighbours tell nothing of each other; in a correlated one, sorted by class, they are of one
class. A method that makes neighbours agree gains from the second and pays for it in the first; one that expects all
classes in a batch does the reverse. Episodic and transductive methods do not see the order: their two numbers are one.
"""


def measure() -> pd.DataFrame:
    """Run both settings; return top-1 per method and setting, and the number of images per batch."""
    rows = []
    for setting in SETTINGS:
        with tempfile.TemporaryDirectory() as folder:
            if code := main([*WORDS, "--setting", setting, "--out", str(Path(folder) / "run")]):
                raise SystemExit(code)
            results = pd.read_csv(Path(folder) / "run" / "results.csv")
        corrupted = results[results["corruption"] != "clean"]
        for method, own in corrupted.groupby("method", sort=False):
            rows.append({"method": method, "setting": setting, "top1": own["top1"].mean()})
    return pd.DataFrame(rows)


def page(numbers: pd.DataFrame) -> str:
    """Return the page: one row per method, the largest gain from sorting first."""
    table = numbers.pivot_table(index="method", columns="setting", values="top1")
    table["change"] = table["correlated"] - table["iid"]
    lines = ["| method | protocol | independent | sorted by class | change |", "|---|---|---:|---:|---:|"]
    for method, row in table.sort_values(["change", "iid"], ascending=False).iterrows():
        protocol = METHODS.get(str(method)).protocol
        lines.append(f"| {method} | {protocol} | {row['iid']:.1f} | {row['correlated']:.1f} | {row['change']:+.1f} |")
    return f"{HEAD}\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    measure().to_csv(NUMBERS, index=False, float_format="%.4f")
    PAGE.write_text(page(pd.read_csv(NUMBERS)), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
