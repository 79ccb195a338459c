"""Make the README's picture and table from ``results/embedded/``: ``python docs/overview.py``.

The picture shows every method's accuracy under corruption against the time of one image, and the table six of them.
Times are of cells during which nothing else ran on the machine, of batches, since those are what all methods have, and
as ratios to zero-shot of the same run, since runs had different numbers of threads. A method without such a cell is
not in the picture, whose title counts. A test compares the README with the output, and the picture states the digest
of the numbers that it shows.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pandas as pd
from PIL import Image, PngImagePlugin

from apm_tta.methods import METHODS
from apm_tta.report.render import markdown
from apm_tta.report.table import Table, number, signed

ROOT = Path(__file__).resolve().parent.parent
RESULTS, README = ROOT / "results" / "embedded" / "embedded-resnet", ROOT / "README.md"
PICTURE = ROOT / "docs" / "pictures" / "overview.png"
BEGIN, END = "<!-- overview: begin -->", "<!-- overview: end -->"
SIX = ["zeroshot", "ensemble", "tda", "tent", "lame", "apm"]
COLOURS = {"episodic": "#1f5fa8", "online": "#b8500f", "transductive": "#3f7d3a"}
DIGEST = "Digest of the numbers"


def numbers() -> pd.DataFrame:
    """Return what is known by method: ``n``, ``clean``, ``corrupted``, ``better``, ``worse``, ``time`` and ``on``."""
    cells = pd.concat([pd.read_csv(file) for file in sorted(RESULTS.glob("severity-5-*/results.csv"))])
    cells = cells[cells["method"].isin(METHODS.names())].drop_duplicates(["method", "corruption"])
    significant = cells["p_holm"] < 0.05
    cells = cells.assign(
        better=significant & (cells["delta_zeroshot"] > 0),
        worse=significant & (cells["delta_zeroshot"] < 0),
        time=cells["time_vs_zeroshot"].where(cells["times_disturbed"].isna()),
    )
    by_method = cells.groupby("method")
    return pd.DataFrame(
        {
            "n": by_method["n"].max(),
            "clean": cells[cells["corruption"] == "clean"].groupby("method")["top1"].mean(),
            "corrupted": cells[cells["corruption"] != "clean"].groupby("method")["top1"].mean(),
            "better": by_method["better"].sum(),
            "worse": by_method["worse"].sum(),
            "time": by_method["time"].median(),
            "on": by_method["measured_on"].first(),
        }
    )


def section(found: pd.DataFrame) -> str:
    """Return the README's table of six methods."""
    plain = found.loc["zeroshot", "corrupted"]
    rows = [
        [
            name,
            METHODS.get(name).protocol,
            *(number(row["clean"]), number(row["corrupted"]), signed(row["corrupted"] - plain)),
            *("n/a" if name == "zeroshot" else str(int(row[column])) for column in ("better", "worse")),
            number(row["time"]),
        ]
        for name, row in found.loc[SIX].iterrows()
    ]
    headers = ["method", "protocol", "clean", "corrupted", "vs zeroshot", "better", "worse", "time"]
    return markdown(Table(headers, rows, 2)).strip()


def digest(found: pd.DataFrame) -> str:
    """Return the SHA-256 of the numbers as written out."""
    return hashlib.sha256(found.round(6).to_csv().encode()).hexdigest()


def digest_of_picture() -> str:
    """Return the digest of the numbers that the committed picture shows."""
    with Image.open(PICTURE) as picture:
        return str(picture.info[DIGEST])


def draw(found: pd.DataFrame) -> None:
    """Draw accuracy against time, each method with its name."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    methods, sha256 = len(found), digest(found)
    found = found[found["time"].notna()]
    figure, axes = pyplot.subplots(figsize=(8, 4.2), dpi=120, layout="constrained")
    plain = found.loc["zeroshot", "corrupted"]
    axes.axhline(plain, color="0.6", linewidth=1, linestyle="--", zorder=0)
    for protocol, colour in COLOURS.items():
        own = found[[METHODS.get(name).protocol == protocol for name in found.index]]
        axes.scatter(own["time"], own["corrupted"], s=28, color=colour, label=protocol)
    label = f"time per image / that of zeroshot, in batches ({' or '.join(sorted(found['on'].unique()))})"
    axes.set(xscale="log", xlabel=label, ylabel="top-1 %, mean of 15 corruptions")
    axes.set_title(
        f"{len(found)} of {methods} methods (others: never timed undisturbed) on corrupted Fashion-MNIST; "
        "dashed: the teacher alone",
        fontsize=9,
    )
    axes.margins(x=0.1, y=0.08)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    figure.canvas.draw()
    taken = [axes.transData.transform(point) for point in found[["time", "corrupted"]].to_numpy()]
    boxes = [(x - 5, y - 5, x + 5, y + 5) for x, y in taken]
    for (name, row), (x, y) in zip(found.iterrows(), taken, strict=True):
        colour = COLOURS[METHODS.get(str(name)).protocol]
        width, height = 8.6 * len(str(name)), 13
        for dx, dy in _places(width):
            box = (x + dx, y + dy - height / 2, x + dx + width, y + dy + height / 2)
            if not any(_overlap(box, other) for other in boxes):
                break
        boxes.append(box)
        axes.annotate(
            str(name),
            (row["time"], row["corrupted"]),
            (dx * 72 / figure.dpi, dy * 72 / figure.dpi),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=colour,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.4, "shrinkA": 0, "shrinkB": 2}
            if abs(dy) > height
            else None,
        )
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, metadata={"Software": None})
    pyplot.close(figure)
    with Image.open(PICTURE) as picture:
        text = PngImagePlugin.PngInfo()
        text.add_text(DIGEST, sha256)
        picture.convert("P", palette=Image.Palette.ADAPTIVE).save(PICTURE, pnginfo=text, optimize=True)


def _places(width: float) -> list[tuple[float, float]]:
    """Return where a name may stand from its point, in pixels, the nearest first."""
    near = [(9.0, 0.0), (-width - 9, 0.0)]
    return near + [(dx, sign * step * 14.0) for step in range(1, 14) for sign in (1, -1) for dx in (9, -width - 9, 30)]


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def main() -> int:
    """Write the picture and the README's table."""
    found = numbers()
    draw(found)
    before, rest = README.read_text(encoding="utf-8").split(BEGIN)
    README.write_text(f"{before}{BEGIN}\n{section(found)}\n{END}{rest.split(END)[1]}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
