"""Make ``docs/field.md``: how close a field comes to its teacher's grid, by layer and by number of images.

``python docs/field.py measure [NAME ...]`` trains on the images that the package carries, one command per variant, and
writes ``docs/field/``; ``python docs/field.py`` makes the page from it. A test compares the committed page with its
output.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import tempfile
from pathlib import Path

from tabulate import tabulate

from apm_tta.cli import main as run_bench
from apm_tta.islands.strip import Chart, Curve, draw_strip

FOLDER = Path(__file__).with_name("field")
PAGE = Path(__file__).with_name("field.md")
GOAL = 0.9
DEFAULT = "layer 3"
# Options beyond the defaults, by the variant's name.
VARIANTS = {
    DEFAULT: "",
    "layer 2": "--layer 2",
    "layer 1": "--layer 1",
    "layer 0": "--layer 0",
    "450 images": "--limit 450",
    "900 images": "--limit 900",
}


def measure(names: list[str]) -> None:
    """Train the variants of those names, and keep their final numbers and their curves."""
    FOLDER.mkdir(exist_ok=True)
    for name in names:
        with tempfile.TemporaryDirectory() as out:
            words = ["train-field", *shlex.split(VARIANTS[name]), "--out", out, "--quiet"]
            if run_bench(words):
                raise SystemExit(f"{name}: run-bench {shlex.join(words)} failed")
            summary = json.loads((Path(out) / "summary.json").read_text(encoding="utf-8"))
            kept = {"summary": summary, "curve": _curve(Path(out) / "epochs.csv")}
        (FOLDER / f"{name.replace(' ', '-')}.json").write_text(json.dumps(kept) + "\n", encoding="utf-8")
        print(f"{name}: {summary['validation cosine']:.4f}", flush=True)


def _curve(path: Path) -> list[float]:
    """Read the validation cosine by epoch, four digits."""
    with path.open(newline="", encoding="utf-8") as file:
        return [round(float(row["validation cosine"]), 4) for row in csv.DictReader(file)]


def found() -> dict[str, dict[str, object]]:
    """Return what ``measure`` kept, by variant, in the order of ``VARIANTS``."""
    paths = {name: FOLDER / f"{name.replace(' ', '-')}.json" for name in VARIANTS}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.exists()}


def page() -> str:
    """Return the page as Markdown."""
    ends = {name: one["summary"] for name, one in found().items()}
    rows = [
        [
            name,
            f"`run-bench train-field {VARIANTS[name]}`".replace(" `", "`"),
            *(f"{end[key]:.3f}" for key in ("validation cosine", "training cosine", "mean token")),
            f"{end['epoch']:.0f}",
        ]
        for name, end in ends.items()
    ]
    names = ["variant", "command", "held out", "trained on", "mean token", "epochs"]
    table = tabulate(rows, names, tablefmt="github", colalign=("left", "left", *("right",) * 4), disable_numparse=True)
    reached = [name for name, end in ends.items() if end["validation cosine"] >= GOAL]
    paragraphs = [
        "# How close a field comes to its teacher",
        "Made by `python docs/field.py` from `docs/field/`, which `python docs/field.py measure` writes: one command "
        "per row. Cosine to the grid of the embedded teacher over all locations: on 200 held-out images, on as many "
        "training images, and of the mean token of every location, which ignores the image.",
        table,
        "![validation cosine by epoch](field/curves.png)",
        f"A cosine of {GOAL} on held-out images is reached by: {', '.join(reached) or 'none'}.",
        *_why(ends),
    ]
    return "\n\n".join(paragraphs) + "\n"


def _why(ends: dict[str, dict[str, float]]) -> list[str]:
    def validation(name: str) -> float:
        return ends[name]["validation cosine"]

    if set(ends) != set(VARIANTS):
        return []
    means = [ends[f"layer {layer}"]["mean token"] for layer in range(4)]
    return [
        "What limits the last layer:",
        f"* depth: from layer to layer {validation('layer 0'):.3f}, {validation('layer 1'):.3f}, "
        f"{validation('layer 2'):.3f}, {validation(DEFAULT):.3f}; the mean token alone reaches "
        f"{', '.join(f'{mean:.3f}' for mean in means)};\n"
        f"* images: {validation('450 images'):.3f} with 450, {validation('900 images'):.3f} with 900, "
        f"{validation(DEFAULT):.3f} with all: {validation('900 images') - validation('450 images'):+.3f} and "
        f"{validation(DEFAULT) - validation('900 images'):+.3f} for each doubling;\n"
        f"* fit: on training images the field reaches {ends[DEFAULT]['training cosine']:.3f} for the last layer and "
        f"{ends['layer 0']['training cosine']:.3f} for the first; of what the last layer lacks, "
        f"{_gap(ends[DEFAULT])}.",
    ]


def _gap(end: dict[str, float]) -> str:
    fit, generalisation = GOAL - end["training cosine"], end["training cosine"] - end["validation cosine"]
    return f"{max(fit, 0):.3f} is due to the fit and {generalisation:.3f} is lost on new images"


def draw() -> None:
    """Draw the curves, by share of the epochs."""
    curves = []
    for name, one in found().items():
        curve: list[float] = one["curve"]  # type: ignore[assignment]
        curves.append(Curve(name, [(index + 1) / len(curve) for index in range(len(curve))], curve))
    goal = Curve(f"{GOAL}", [0, 1], [GOAL, GOAL])
    chart = Chart("share of the epochs", [*curves, goal], whole=False)
    (FOLDER / "curves.png").write_bytes(draw_strip("validation cosine to the teacher's grid", None, [], chart))


def main() -> None:
    """Measure, or make the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", metavar="measure [NAME ...]", help=f"names: {', '.join(VARIANTS)}")
    words = parser.parse_args().what
    if words and words[0] == "measure":
        measure(words[1:] or list(VARIANTS))
    draw()
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
