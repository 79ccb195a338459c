"""Make ``docs/field.md``: how close a field comes to its teacher's grid, by layer and by number of images.

``python docs/field.py measure [NAME ...]`` trains on the images in the package, one command per variant, and writes
``docs/field/``; ``python docs/field.py`` makes the page from it. A test compares the committed page with its output.
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
# Options that differ from the defaults, by name of the variant.
VARIANTS = {
    DEFAULT: "",
    "layer 2": "--layer 2",
    "layer 1": "--layer 1",
    "layer 0": "--layer 0",
    "450 images": "--limit 450",
    "900 images": "--limit 900",
}


def measure(names: list[str]) -> None:
    """Train the variants of those names, and store their final numbers and their curves."""
    FOLDER.mkdir(exist_ok=True)
    for name in names:
        with tempfile.TemporaryDirectory() as out:
            words = ["train-field", *shlex.split(VARIANTS[name]), "--out", out, "--quiet"]
            if run_bench(words):
                raise SystemExit(f"{name}: run-bench {shlex.join(words)} failed")
            summary = json.loads((Path(out) / "summary.json").read_text(encoding="utf-8"))
            measurement = {"summary": summary, "curve": _curve(Path(out) / "epochs.csv")}
        (FOLDER / f"{name.replace(' ', '-')}.json").write_text(json.dumps(measurement) + "\n", encoding="utf-8")
        print(f"{name}: {summary['validation cosine']:.4f}", flush=True)


def _curve(path: Path) -> list[float]:
    """Read the validation cosine by epoch, rounded to four digits."""
    with path.open(newline="", encoding="utf-8") as file:
        return [round(float(row["validation cosine"]), 4) for row in csv.DictReader(file)]


def measurements() -> dict[str, dict[str, object]]:
    """Return what ``measure`` has stored, by variant, in the order of ``VARIANTS``."""
    paths = {name: FOLDER / f"{name.replace(' ', '-')}.json" for name in VARIANTS}
    return {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.exists()}


def page() -> str:
    """Return the page as Markdown."""
    summaries = {name: measurement["summary"] for name, measurement in measurements().items()}
    rows = [
        [
            name,
            f"`run-bench train-field {VARIANTS[name]}`".replace(" `", "`"),
            *(f"{summary[key]:.3f}" for key in ("validation cosine", "training cosine", "mean token")),
            f"{summary['epoch']:.0f}",
        ]
        for name, summary in summaries.items()
    ]
    names = ["variant", "command", "held out", "trained on", "mean token", "epochs"]
    table = tabulate(rows, names, tablefmt="github", colalign=("left", "left", *("right",) * 4), disable_numparse=True)
    reached = [name for name, summary in summaries.items() if summary["validation cosine"] >= GOAL]
    paragraphs = [
        "# How close a field comes to its teacher",
        "Made by `python docs/field.py` from `docs/field/`, which `python docs/field.py measure` writes: one command "
        "per row. Cosine to the grid of the embedded teacher over all locations: on 200 held-out images, on as many "
        "training images, and of the mean token of every location, which ignores the image.",
        table,
        "![validation cosine by epoch](field/curves.png)",
        f"A cosine of {GOAL} on held-out images is reached by: {', '.join(reached) or 'none'}.",
        *_limits(summaries),
    ]
    return "\n\n".join(paragraphs) + "\n"


def _limits(summaries: dict[str, dict[str, float]]) -> list[str]:
    """Return paragraphs on what limits the last layer; none where a variant has not been measured."""

    def validation(name: str) -> float:
        return summaries[name]["validation cosine"]

    if set(summaries) != set(VARIANTS):
        return []
    means = [summaries[f"layer {layer}"]["mean token"] for layer in range(4)]
    return [
        "What limits the last layer:",
        f"* depth: from layer to layer {validation('layer 0'):.3f}, {validation('layer 1'):.3f}, "
        f"{validation('layer 2'):.3f}, {validation(DEFAULT):.3f}; the mean token alone reaches "
        f"{', '.join(f'{mean:.3f}' for mean in means)};\n"
        f"* images: {validation('450 images'):.3f} with 450, {validation('900 images'):.3f} with 900, "
        f"{validation(DEFAULT):.3f} with all: {validation('900 images') - validation('450 images'):+.3f} and "
        f"{validation(DEFAULT) - validation('900 images'):+.3f} for each doubling;\n"
        f"* fit: on training images the field reaches {summaries[DEFAULT]['training cosine']:.3f} for the last layer "
        f"and {summaries['layer 0']['training cosine']:.3f} for the first; of what the last layer lacks, "
        f"{_gap(summaries[DEFAULT])}.",
    ]


def _gap(summary: dict[str, float]) -> str:
    """Split a field's gap to ``GOAL`` into the part of the fit and the part of generalisation, in words."""
    fit, generalisation = GOAL - summary["training cosine"], summary["training cosine"] - summary["validation cosine"]
    return f"{max(fit, 0):.3f} is due to the fit and {generalisation:.3f} is lost on new images"


def draw() -> None:
    """Draw the validation cosine of every variant by share of its epochs."""
    curves = []
    for name, measurement in measurements().items():
        curve: list[float] = measurement["curve"]  # type: ignore[assignment]
        curves.append(Curve(name, [(index + 1) / len(curve) for index in range(len(curve))], curve))
    goal = Curve(f"{GOAL}", [0, 1], [GOAL, GOAL])
    chart = Chart("share of the epochs", [*curves, goal], whole=False)
    (FOLDER / "curves.png").write_bytes(draw_strip("validation cosine to the teacher's grid", None, [], chart))


def main() -> None:
    """Measure where requested, and make the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", metavar="measure [NAME ...]", help=f"names: {', '.join(VARIANTS)}")
    words = parser.parse_args().what
    if words and words[0] == "measure":
        measure(words[1:] or list(VARIANTS))
    draw()
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
