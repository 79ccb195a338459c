"""Make ``docs/versions.md``: with which versions the tests were run, when, and with what result.

``python docs/versions.py LABEL LOG`` adds a row about the environment of the Python that runs it: LABEL says how its
versions were chosen, and LOG is a file with what pytest printed there. Without arguments it makes the page again.
"""

from __future__ import annotations

import csv
import platform
import re
import sys
from datetime import date
from importlib.metadata import distributions, version
from pathlib import Path

TABLE = Path(__file__).parent / "versions.csv"
PAGE = Path(__file__).parent / "versions.md"
LIBRARIES = ("torch", "torchvision", "numpy", "pandas", "pillow", "pydantic", "open_clip_torch", "timm", "click")
COLUMNS = ("date", "python", "versions", *LIBRARIES, "passed", "failed", "skipped", "installed GB", "of it for GPUs")
HEAD = """# Versions that were tried

Made by `python docs/versions.py` from [versions.csv](versions.csv), to which it adds a row for an environment and a
log of pytest's. `tox -e py310` (`py312`, `py313`) runs the tests on another Python with the newest versions, `tox -e
lowest` the fast tests with the lowest versions that `pyproject.toml` declares. Pillow before 13, the newest for
Python 3.10, rounds some values of resized images to the next level; its version is part of what makes a run.

"""


def page() -> str:
    """Return the page as Markdown."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = [list(row.values()) for row in csv.DictReader(file)]
    lines = [COLUMNS, ["---"] * len(COLUMNS), *rows]
    return HEAD + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def add_row(label: str, log: Path) -> None:
    """Add what is installed here, and the counts in the last line of pytest's output."""
    last = log.read_text(encoding="utf-8").rstrip().splitlines()[-1]
    counts = {word: number for number, word in re.findall(r"(\d+) (passed|failed|errors?|skipped)", last)}
    if not counts:
        raise SystemExit(f"{log} does not end with pytest's counts: {last}")
    failed = sum(int(counts.get(word, 0)) for word in ("failed", "error", "errors"))
    sizes = {item.metadata["Name"]: _size(item.files) for item in distributions()}
    gpu = sum(size for name, size in sizes.items() if re.match(r"nvidia|cuda|triton", name))
    row = [date.today().isoformat(), platform.python_version(), label, *map(version, LIBRARIES)]
    row += [counts.get("passed", "0"), str(failed), counts.get("skipped", "0")]
    row += [f"{sum(sizes.values()) / 1e9:.1f}", f"{gpu / 1e9:.1f}"]
    new = not TABLE.exists()
    with TABLE.open("a", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, row] if new else [row])


def _size(files: object) -> int:
    paths = [Path(str(file.locate())) for file in files or ()]  # type: ignore[attr-defined]
    return sum(path.stat().st_size for path in paths if path.is_file())


if __name__ == "__main__":
    if len(sys.argv) == 3:
        add_row(sys.argv[1], Path(sys.argv[2]))
    PAGE.write_text(page(), encoding="utf-8")
