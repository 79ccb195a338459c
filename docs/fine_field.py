"""Make ``docs/fine_field.md``: how a field answers between its locations, trained as usual and with ``--fine``.

``python docs/fine_field.py measure FOLDER`` trains both into folders below FOLDER, or finishes what it finds there, and
writes ``docs/field/fine.json``; with ``--as-they-are`` it takes trainings that have not ended, and the page says so.
``python docs/fine_field.py`` makes the page from the numbers. A test compares the committed page with its output.
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tabulate import tabulate
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from apm_tta.cli import main as run_bench
from apm_tta.data.dataset import open_dataset
from apm_tta.data.sample import CLEAN
from apm_tta.field.between import fine_tokens
from apm_tta.field.checkpoint import CHECKPOINT_FILE, Field, load_field
from apm_tta.field.checkpoint_file import read_checkpoint
from apm_tta.field.field_answers import answer, column_of, teacher_grid, true_colours
from apm_tta.islands.fine.bilinear import enlarge
from apm_tta.islands.levels import Estimate, mean_with_interval
from apm_tta.teachers import load_teacher
from apm_tta.teachers.square import Square

NUMBERS = Path(__file__).with_name("field") / "fine.json"
PAGE = Path(__file__).with_name("fine_field.md")
# A quarter of the usual views: tokens at a quarter of the stride take forty times as long.
TRAININGS = {"as usual": "--views 2", "fine": "--views 2 --fine"}
FACTOR = 4  # cells per side in that of each location: a pixel each
LAYER = 3
Row = dict[str, list[float]]
_UNFINISHED = (
    "These trainings had not ended: both are at the same learning rate, and neither is as good as it becomes. The "
    "command above, without `--as-they-are`, finishes them and makes this page again."
)


def measure(folder: Path, as_they_are: bool) -> None:
    """Train both fields, and store how they answer."""
    teacher = load_teacher("embedded", torch.device("cpu"))
    fields, epochs = {}, {}
    for name, options in TRAININGS.items():
        out = folder / name.replace(" ", "-")
        words = ["train-field", *shlex.split(options), "--precision", "float32", "--out", str(out), "--quiet"]
        if not as_they_are and run_bench(words):
            raise SystemExit(f"run-bench {shlex.join(words)} failed")
        fields[name] = load_field(out / CHECKPOINT_FILE, teacher.device)
        content = read_checkpoint(out / CHECKPOINT_FILE)
        epochs[name] = [len(content.epochs), content.settings.schedule.epochs]
    rows: dict[str, Row] = {name: {} for name in fields}
    tokens: Row = {"teacher": [], "field": []}
    dataset = open_dataset("fashion-mnist")
    weights = teacher.class_weights(dataset.classes, [dataset.template])
    held_out = fields["fine"].held_out
    for entry in (each for each in dataset.entries(CLEAN) if each.id in held_out):
        image = dataset.read(entry, CLEAN).image
        pixels = Square(teacher.preprocessing)(image)[None]
        with torch.no_grad():
            finer = fine_tokens(teacher, pixels, LAYER, FACTOR, fields["fine"].apm.config.grid)[0]
            embedding = teacher.encode_image(pixels)
        for name, field in fields.items():
            own = teacher_grid(field, teacher, LAYER, image)
            colours = [true_colours(field, image, factor) for factor in (1, FACTOR)]
            _append(rows[name], _answered(field, column_of(field, image), own, finer, colours))
        for who, token in (("teacher", embedding), ("field", _token(fields["fine"], image))):
            scores = normalize(token[:, : teacher.feature_dim], dim=-1) @ weights.T
            tokens[who].append(float(int(scores.argmax()) == entry.label))
        _append(tokens, {"cosine": _cosine(_token(fields["fine"], image)[:, : teacher.feature_dim], embedding)})
    stored: dict[str, Any] = {**{name: _intervals(row) for name, row in rows.items()}, "token": _intervals(tokens)}
    stored["gain"] = {name: _gain(row) for name, row in rows.items()}
    stored |= {"images": len(tokens["teacher"]), "epochs": epochs}
    NUMBERS.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


def _answered(field: Field, column: Tensor, own: Tensor, finer: Tensor, colours: list[Tensor]) -> dict[str, float]:
    """Return cosines and squared errors of one image, by where and how the field was asked."""
    whole, between = answer(field, column), answer(field, column, factor=FACTOR)
    return {
        "whole cosine": _cosine(whole.grid, own),
        "whole colour": _error(whole.rgb, colours[0]),
        "between cosine": _cosine(between.grid, finer),
        "between colour": _error(between.rgb, colours[1]),
        "enlarged cosine": _cosine(enlarge(whole.grid, FACTOR), finer),
        "enlarged colour": _error(enlarge(whole.rgb, FACTOR), colours[1]),
        "enlarged teacher": _cosine(enlarge(own, FACTOR), finer),
        "enlarged image": _error(enlarge(colours[0], FACTOR), colours[1]),
    }


@torch.no_grad()
def _token(field: Field, image: Any) -> Tensor:
    features = field.apm.query(column_of(field, image), torch.arange(field.apm.config.grid**2))
    return field.apm.readout(features)


def _cosine(features: Tensor, other: Tensor) -> float:
    return float(cosine_similarity(features, other, dim=-1).mean())


def _error(colours: Tensor, other: Tensor) -> float:
    return float((colours - other).square().mean())


def _append(rows: Row, numbers: dict[str, float]) -> None:
    for name, number in numbers.items():
        rows.setdefault(name, []).append(number)


def _intervals(rows: Row) -> dict[str, dict[str, float]]:
    return {name: asdict(mean_with_interval(np.array(values))) for name, values in rows.items()}


def _gain(rows: Row) -> dict[str, dict[str, float]]:
    """Compare asking between the locations with interpolating the answers at them, image by image."""
    return _intervals(
        {
            kind: [
                asked - enlarged
                for asked, enlarged in zip(rows[f"between {kind}"], rows[f"enlarged {kind}"], strict=True)
            ]
            for kind in ("cosine", "colour")
        }
    )


def page() -> str:
    """Return the page as Markdown."""
    stored = json.loads(NUMBERS.read_text(encoding="utf-8"))

    def number(of: str, name: str, digits: int = 3) -> str:
        return _shown(stored[of][name], digits)

    def row(name: str, of: str) -> list[str]:
        command = f"`run-bench train-field {TRAININGS[name]}`"
        shown = [
            number(name, f"{where} {of}", 3 if of == "cosine" else 4) for where in ("whole", "between", "enlarged")
        ]
        done, planned = stored["epochs"][name]
        after = f"{done}" if done == planned else f"{done} of {planned}"
        return [name, command, after, *shown, _shown(stored["gain"][name][of], 3 if of == "cosine" else 4)]

    heads = [
        "field",
        "command",
        "epochs",
        "at whole locations",
        "asked between",
        "interpolated between",
        "asked - interpolated",
    ]
    tables: dict[str, Callable[[], str]] = {
        of: lambda of=of: tabulate(  # type: ignore[misc]
            [row(name, of) for name in TRAININGS], heads, tablefmt="github", disable_numparse=True
        )
        for of in ("cosine", "colour")
    }
    token = stored["token"]
    parts = [
        "# How a field answers between its locations",
        "Made by `python docs/fine_field.py` from `docs/field/fine.json`, which `python docs/fine_field.py measure "
        f"FOLDER` writes. Means over {stored['images']} held-out images with 95 % bootstrap intervals. Between: 32 x "
        "32 places, the centres of pixels, four for each of the 8 x 8 locations per side. There the truth is the "
        "teacher's token at a stride of one pixel, and the pixel. Both fields had a quarter of the usual views, since "
        "tokens at that stride take forty times as long.",
        "**Cosine to the teacher's tokens**",
        tables["cosine"](),
        f"The teacher's own 8 x 8 tokens, interpolated, come to {number('fine', 'enlarged teacher')}.",
        "**Mean squared error of the colours**",
        tables["colour"](),
        f"The image itself, interpolated from 8 x 8, comes to {number('fine', 'enlarged image', 4)}. A fine field "
        "learns the colour of a pixel everywhere, the other that of a patch, which is what is compared at whole "
        "locations.",
        f"**Zero-shot accuracy** on the same images: {_shown(token['field'], 3)} by the fine field's token, "
        f"{_shown(token['teacher'], 3)} by the teacher, whose embedding the token meets with a cosine of "
        f"{_shown(token['cosine'], 3)}. A field trained as usual has no such token.",
        _verdict(stored["gain"]),
        *([_UNFINISHED] if any(done < planned for done, planned in stored["epochs"].values()) else []),
    ]
    return "\n\n".join(parts) + "\n"


def _verdict(gain: dict[str, dict[str, dict[str, float]]]) -> str:
    """Say of both fields whether asking between the locations is better than interpolating."""
    said = []
    for name in TRAININGS:
        cosine, colour = gain[name]["cosine"], gain[name]["colour"]
        features = "gains" if cosine["low"] > 0 else "loses" if cosine["high"] < 0 else "neither gains nor loses"
        colours = "gains" if colour["high"] < 0 else "loses" if colour["low"] > 0 else "neither gains nor loses"
        said.append(f"trained {name}, asking between locations {features} in features and {colours} in colours")
    return f"By these intervals: {'; '.join(said)}."


def _shown(stored: dict[str, float], digits: int) -> str:
    one = Estimate(**stored)
    return f"{one.mean:.{digits}f} ({one.low:.{digits}f} .. {one.high:.{digits}f})"


def main() -> None:
    """Measure where requested, and make the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", metavar="measure FOLDER")
    parser.add_argument("--as-they-are", action="store_true", help="train no further")
    given = parser.parse_args()
    if given.what:
        measure(Path(given.what[1]), given.as_they_are)
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
