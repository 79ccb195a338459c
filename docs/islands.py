"""Make ``docs/islands.md``: how good islands are, by resolution, layer and way, on pictures whose parts are known.

``python docs/islands.py measure photographs FOLDER`` composes pictures of the photographs in FOLDER, and ``measure
fashion-mnist`` takes the foreground of the images in the package; both write a table to ``docs/islands/``, numbers
only. ``measure cost [56-stride] [224-shift]`` draws islands of a ViT-B/16 with drawn weights in a process of its own,
and stores its memory and time. ``python docs/islands.py`` makes the page from all. A test compares the committed page
with its output.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from tabulate import tabulate

from apm_tta.data.unlabelled import Unlabelled, all_images, by_digest
from apm_tta.field.checkpoint import Field, load_field
from apm_tta.field.field_answers import answer, column_of
from apm_tta.islands.fine import WAYS
from apm_tta.islands.fine.bilinear import enlarge
from apm_tta.islands.levels import Estimate, grids_of_levels, mean_with_interval
from apm_tta.islands.regions import merge_regions
from apm_tta.islands.yardsticks.composites import Composite, compose
from apm_tta.islands.yardsticks.foreground import with_foreground
from apm_tta.islands.yardsticks.pixel_lines import colour_clusters, otsu
from apm_tta.islands.yardsticks.scores import COUNTS, Scores, score
from apm_tta.teachers import Teacher, load_teacher

FOLDER = Path(__file__).with_name("islands")
PAGE = Path(__file__).with_name("islands.md")
CONTROLS = 10  # one picture in so many is composed of a single photograph
KEPT_EVERY = 10  # images
PLAIN = "bilinear"
COST_FILE = FOLDER / "cost.json"
COSTLY = ["56-stride", "224-shift"]
LARGE = "vit_base_patch16_224.augreg2_in21k_ft_in1k"
TITLES = {"photographs": "Photographs with a pasted part", "fashion-mnist": "Fashion-MNIST's foreground"}
Key = tuple[str, str, str]  # layer, resolution, way


@dataclass
class Row:
    """What was found of one layer at one resolution by one way, image by image."""

    rand: list[tuple[float, ...]] = field(default_factory=list)
    boundary: list[tuple[float, ...]] = field(default_factory=list)
    islands: list[int] = field(default_factory=list)
    control: list[float] = field(default_factory=list)

    def add(self, scores: Scores, islands: int, control: bool) -> None:
        """Add one image's scores; those of a control are kept apart."""
        if control:
            self.control.append(float(np.mean(scores.rand)))
            return
        self.rand.append(scores.rand)
        self.boundary.append(scores.boundary)
        self.islands.append(islands)


def composites(folder: str, limit: int) -> Iterator[tuple[Composite, bool]]:
    """Compose pictures of photographs, each with the next one; yield them with whether they are controls."""
    images = by_digest(all_images(folder))[:limit]
    for index, image in enumerate(images):
        control = index % CONTROLS == CONTROLS - 1
        other: Unlabelled = image if control else images[(index + 1) % len(images)]
        yield compose(image.read(), other.read(), np.random.default_rng(index)), control


def foregrounds(limit: int, only: frozenset[str]) -> Iterator[tuple[Composite, bool]]:
    """Yield images of the package with their foreground; those of ``only``, where there are any."""
    images = [image for image in by_digest(all_images("fashion-mnist")) if not only or image.id in only]
    for image in images[:limit]:
        yield with_foreground(image.read()), False


def measure(
    pictures: Iterator[tuple[Composite, bool]],
    teacher: Teacher,
    resolutions: Sequence[int],
    layers: Sequence[int],
    asked: Field | None,
    path: Path,
) -> None:
    """Score every way at every resolution, and write the table again after every few images."""
    rows: dict[Key, Row] = {}
    for index, (picture, control) in enumerate(pictures):
        lines = {
            ("", "224", "Otsu"): [otsu(picture.image)] * len(COUNTS),
            ("", "56", "k-means"): colour_clusters(picture.image),
        }
        for key, labels in lines.items():
            rows.setdefault(key, Row()).add(score(labels, picture.mask), 0, control)
        for key, features in _features(picture, teacher, resolutions, layers, asked):
            regions = merge_regions(features)
            labels = [regions.labels(min(count, len(regions.within))) for count in COUNTS]
            rows.setdefault(key, Row()).add(score(labels, picture.mask), regions.count(), control)
        if not (index + 1) % KEPT_EVERY:
            _write(path, teacher, rows)
            print(f"{path.name}: {index + 1} images", flush=True)
    _write(path, teacher, rows)


def _features(
    picture: Composite, teacher: Teacher, resolutions: Sequence[int], layers: Sequence[int], asked: Field | None
) -> Iterator[tuple[Key, torch.Tensor]]:
    own = grids_of_levels(picture.image, teacher, layers)
    for layer, grid in zip(layers, own, strict=True):
        yield (str(layer), str(len(grid.features)), "own"), grid.features
    if asked is not None:
        column = column_of(asked, picture.image)
        whole = answer(asked, column).grid
        yield ("field", str(len(whole)), "own"), whole
    for resolution in resolutions:
        finer = [layer for layer, grid in zip(layers, own, strict=True) if len(grid.features) < resolution]
        for way in WAYS.names():
            if way == "stride" and teacher.patch_size is None:
                continue
            for layer, grid in zip(finer, grids_of_levels(picture.image, teacher, finer, resolution, way), strict=True):
                yield (str(layer), str(resolution), way), grid.features
        if asked is not None:
            factor = resolution // asked.apm.config.grid
            yield ("field", str(resolution), "field"), answer(asked, column, factor=factor).grid
            yield ("field", str(resolution), PLAIN), enlarge(whole, factor)


def _write(path: Path, teacher: Teacher, rows: dict[Key, Row]) -> None:
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow(
        [
            "teacher",
            "layer",
            "resolution",
            "way",
            "images",
            "islands",
            "rand",
            "rand low",
            "rand high",
            "best rand",
            "at",
            "boundary",
            "boundary low",
            "boundary high",
            "best boundary",
            "gain",
            "gain low",
            "gain high",
            "controls",
            "control",
        ]
    )
    for (layer, resolution, way), row in rows.items():
        rand, boundary = np.array(row.rand), np.array(row.boundary)
        if not len(rand):
            continue
        plain = rows.get((layer, resolution, PLAIN))
        gain = (
            _numbers(mean_with_interval(rand.mean(1) - np.array(plain.rand).mean(1)))
            if plain and way != PLAIN
            else [""] * 3
        )
        writer.writerow(
            [
                teacher.name.partition(":/")[0],
                layer,
                resolution,
                way,
                len(rand),
                f"{np.mean(row.islands):.1f}",
                *_numbers(mean_with_interval(rand.mean(1))),
                f"{rand.mean(0).max():.4f}",
                COUNTS[int(rand.mean(0).argmax())],
                *_numbers(mean_with_interval(boundary.mean(1))),
                f"{boundary.mean(0).max():.4f}",
                *gain,
                len(row.control),
                f"{np.mean(row.control):.4f}" if row.control else "",
            ]
        )
    path.parent.mkdir(exist_ok=True)
    path.write_text(content.getvalue(), encoding="utf-8")


def _numbers(one: Estimate) -> list[str]:
    return [f"{value:.4f}" for value in (one.mean, one.low, one.high)]


def measure_cost(names: Sequence[str]) -> None:
    """Draw islands of a large teacher with drawn weights, and store the memory and the processor time that it took."""
    stored = json.loads(COST_FILE.read_text(encoding="utf-8")) if COST_FILE.is_file() else {}
    image = Path(__file__).with_name("pictures") / "coffee.jpg"
    with tempfile.TemporaryDirectory() as out:
        weights = Path(out) / "drawn.safetensors"
        torch.manual_seed(0)
        save_file(timm.create_model(LARGE, pretrained=False).state_dict(), weights)
        for name in names:
            resolution, way = name.split("-")
            words = ["islands", str(image), "--teacher", f"timm:{LARGE}:{weights}", "--levels", "11", "--resolution"]
            words += [resolution, "--fine", way, "--animation", "none", "--yes", "--out", f"{out}/{name}"]
            code = "import sys; from apm_tta.cli import main; sys.exit(main(sys.argv[1:]))"
            process = os.posix_spawn(sys.executable, [sys.executable, "-c", code, *words], os.environ)
            _, status, used = os.wait4(process, 0)
            if status:
                raise SystemExit(f"{name}: the command failed")
            stored[name] = {"seconds": round(used.ru_utime + used.ru_stime), "megabytes": round(used.ru_maxrss / 1024)}
            FOLDER.mkdir(exist_ok=True)
            COST_FILE.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


def tables() -> dict[str, list[dict[str, str]]]:
    """Return the measured tables, by the names of their files."""
    paths = sorted(FOLDER.glob("*.csv"), key=lambda path: (not path.name.startswith("photographs"), path.name))
    return {path.stem: list(csv.DictReader(path.read_text(encoding="utf-8").splitlines())) for path in paths}


def verdicts(rows: Sequence[dict[str, str]]) -> dict[str, tuple[int, int, int]]:
    """Return by way in how many rows it is better than interpolation, worse, and of how many."""
    found: dict[str, tuple[int, int, int]] = {}
    for way in dict.fromkeys(row["way"] for row in rows if row["gain"]):
        own = [row for row in rows if row["way"] == way]
        better, worse = (sum(test(row) for row in own) for test in (_better, _worse))
        found[way] = better, worse, len(own)
    return found


def default() -> str:
    """Return the way that is better than interpolation in more than half of its rows on photographs; else that."""
    rows = [row for name, table in tables().items() if name.startswith("photographs") for row in table]
    best = {way: better / count for way, (better, _, count) in verdicts(rows).items() if 2 * better > count}
    return max(best, key=lambda way: best[way], default=PLAIN)


def _better(row: dict[str, str]) -> bool:
    return float(row["gain low"]) > 0


def _worse(row: dict[str, str]) -> bool:
    return float(row["gain high"]) < 0


def page() -> str:
    """Return the page as Markdown."""
    parts = [
        "# How good islands are",
        "Made by `python docs/islands.py` from the tables in `docs/islands/`, which `python docs/islands.py measure "
        "photographs FOLDER` and `measure fashion-mnist` write.",
        f"Every way is asked for {', '.join(map(str, COUNTS))} islands, since its own rule would choose another "
        "number; the score is the mean over these, the best and where it is stand beside. *Rand*: adjusted Rand index, "
        "0 by chance. *Boundary*: F-measure within 1 % of the side. *Gain*: Rand beyond that of plain interpolation at "
        "the same layer and resolution, image by image. 95 % bootstrap intervals over the images. *By the rule*: how "
        "many islands the commands would draw. Otsu's two halves and k-means of the pixels' colours are the lines to "
        "beat.",
        "Photographs decide: a blob of another photograph is pasted with a soft edge and the mean and contrast of what "
        f"it covers. One in {CONTROLS} is composed of a single photograph, as a control: there, features that tell "
        "photographs apart have nothing to find.",
    ]
    for name, rows in tables().items():
        yardstick = next(each for each in TITLES if name.startswith(each))
        parts += [f"## {TITLES[yardstick]}: {rows[0]['teacher']}", _table(rows), _said(rows)]
    if COST_FILE.is_file():
        stored = json.loads(COST_FILE.read_text(encoding="utf-8"))
        cells = [
            [name.replace("-", " by "), f"{own['megabytes']:,}", f"{own['seconds']}"] for name, own in stored.items()
        ]
        heads = ["locations per side", "memory MB", "processor seconds"]
        parts += [
            "## What it costs",
            "One layer of a ViT-B/16 with drawn weights, by `python docs/islands.py measure cost`: the whole command, "
            "its largest memory and the time of its processor.",
            tabulate(cells, heads, tablefmt="github", disable_numparse=True),
        ]
    way = default()
    chosen = (
        f"`{way}` is better than interpolation in most rows on photographs"
        if way != PLAIN
        else ("No way is better than plain interpolation in most of its rows on photographs")
    )
    return "\n\n".join([*parts, "## The default", f"{chosen}: `--fine {way}` is the default."]) + "\n"


def _table(rows: Sequence[dict[str, str]]) -> str:
    heads = ["layer", "locations", "way", "Rand", "best (at)", "boundary", "best", "gain", "control", "by the rule"]
    cells = [
        [
            row["layer"],
            row["resolution"],
            row["way"],
            _interval(row, "rand"),
            f"{float(row['best rand']):.3f} ({row['at']})",
            _interval(row, "boundary"),
            f"{float(row['best boundary']):.3f}",
            _interval(row, "gain") if row["gain"] else "",
            f"{float(row['control']):.3f}" if row["control"] else "",
            row["islands"] if row["layer"] else "",
        ]
        for row in rows
    ]
    return tabulate(cells, heads, tablefmt="github", disable_numparse=True)


def _said(rows: Sequence[dict[str, str]]) -> str:
    """Say what a table shows: who is above, and where ways are better or worse than interpolation."""
    lines = [row for row in rows if not row["layer"]]
    features = [row for row in rows if row["layer"]]
    line, best = (max(group, key=lambda row: float(row["rand"])) for group in (lines, features))
    above = (
        "above"
        if float(best["rand low"]) > float(line["rand high"])
        else ("below" if float(best["rand high"]) < float(line["rand low"]) else "not told from")
    )
    counted = "; ".join(
        f"{way} is better than interpolation in {better} and worse in {worse} of {count} rows"
        for way, (better, worse, count) in verdicts(rows).items()
    )
    where = f"layer {best['layer']}" if best["layer"].isdigit() else "the field"
    return (
        f"{rows[0]['images']} images and {rows[0]['controls']} controls. The best features ({where}, "
        f"{best['resolution']} x {best['resolution']}, {best['way']}) have {_interval(best, 'rand')}, {above} the "
        f"better line of the pixels ({line['way']}, {_interval(line, 'rand')}). By intervals, {counted}."
    )


def _interval(row: dict[str, str], name: str) -> str:
    return f"{float(row[name]):.3f} ({float(row[f'{name} low']):.3f} .. {float(row[f'{name} high']):.3f})"


def main() -> None:
    """Measure where requested, and make the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", metavar="measure (photographs FOLDER | fashion-mnist | cost)")
    parser.add_argument("--teacher", default="embedded")
    parser.add_argument("--layers", default="0,1,2,3")
    parser.add_argument("--resolutions", default="16,32")
    parser.add_argument("--limit", type=int, default=100, help="images")
    parser.add_argument("--field", type=Path, help="checkpoint of a field that is asked as well")
    given = parser.parse_args()
    if given.what[1:2] == ["cost"]:
        measure_cost(given.what[2:] or COSTLY)
    elif given.what:
        teacher = load_teacher(given.teacher, torch.device("cpu"))
        asked = load_field(given.field, teacher.device) if given.field else None
        yardstick = given.what[1]
        photographs = yardstick == "photographs"
        pictures = (
            composites(given.what[2], given.limit)
            if photographs
            else foregrounds(given.limit, asked.held_out if asked else frozenset())
        )
        layers, resolutions = (
            [int(number) for number in text.split(",")] for text in (given.layers, given.resolutions)
        )
        name = teacher.name.split(":")[1] if ":" in teacher.name else teacher.name
        measure(pictures, teacher, resolutions, layers, asked, FOLDER / f"{yardstick}-{name}.csv")
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
