"""Make the pictures of islands, levels and the field, and the text between them in ``docs/islands-and-field.md``.

``python docs/pictures.py make`` runs every command that the page prints and leaves its files in ``docs/pictures/``;
``python docs/pictures.py`` writes the page's section from them. A test compares the committed section with its
output.
"""

from __future__ import annotations

import argparse
import csv
import shlex
import sys
from pathlib import Path

from PIL import Image

from apm_tta.cli import main as run_bench
from apm_tta.islands.agreement import format_cosine

ROOT = Path(__file__).resolve().parent.parent
FOLDER, PAGE = ROOT / "docs" / "pictures", ROOT / "docs" / "islands-and-field.md"
BEGIN, END = "<!-- pictures: begin -->", "<!-- pictures: end -->"
PHOTOGRAPH = FOLDER / "coffee.jpg"
CHECKPOINT = "docs/pictures/field/field.safetensors"

# By the folder of their files.
COMMANDS = {
    "token": "run-bench islands fashion-mnist:test/00083 --animation none --out docs/pictures/token",
    "grid": "run-bench islands fashion-mnist:test/00083 --target grid --learning-rate 1e-3 --out docs/pictures/grid",
    "photograph": (
        "run-bench islands docs/pictures/coffee.jpg --levels 0,1,2,3 --animation none --out docs/pictures/photograph"
    ),
    "levels": "run-bench islands fashion-mnist --levels all --out docs/pictures/levels",
    "field": "run-bench train-field --out docs/pictures/field",
    "answer": (
        f"run-bench field fashion-mnist:test/00083 --checkpoint {CHECKPOINT} --animation none "
        "--out docs/pictures/answer"
    ),
    "walk": (
        "run-bench interpolate fashion-mnist:test/00029 fashion-mnist:test/00083 --steps 24 --animation webp "
        f"--checkpoint {CHECKPOINT} --out docs/pictures/walk"
    ),
}


def make(names: list[str]) -> int:
    """Run the commands of those names in the repository's root; return the exit code of the first that fails."""
    from skimage.data import coffee

    FOLDER.mkdir(exist_ok=True)
    Image.fromarray(coffee()).save(PHOTOGRAPH, quality=90)
    for name in names:
        print(f"$ {COMMANDS[name]}", flush=True)
        if code := run_bench(shlex.split(COMMANDS[name])[1:]):
            return code
    return 0


def rows(name: str, file: str) -> list[dict[str, str]]:
    """Read a CSV file that a command wrote."""
    with (FOLDER / name / file).open(newline="", encoding="utf-8") as table:
        return list(csv.DictReader(table))


def section() -> str:
    """Return the page's section: what each command shows, with its numbers, its picture and the command itself."""
    parts = [_token(), _grid(), _photograph(), _levels(), _field(), _answer(), _walk()]
    return "\n\n".join(parts)


def _shown(name: str, file: str, text: str, alternative: str) -> str:
    return f"{text}\n\n![{alternative}](pictures/{name}/{file})\n\n```sh\n{COMMANDS[name]}\n```"


def _token() -> str:
    islands, fit = rows("token", "islands.csv"), rows("token", "fit.csv")
    last = islands[-1]
    text = (
        f"**Islands of a fresh APM.** Fitted to the teacher's embedding for {len(fit) - 1} iterations, its token "
        f"reaches a cosine of {float(fit[-1]['cosine']):.3f}. t-SNE and PCA draw differences between locations "
        "however small they are; the numbers say how small: neighbours' features have a cosine of "
        f"{format_cosine(float(last['neighbours']))}, any two {format_cosine(float(last['any two']))}, which is "
        f"{_count(last['islands'])}. A fit to one token constrains no single location."
    )
    return _shown("token", "islands.png", text, "a fresh APM's features at six iterations, with loss and cosine below")


def _grid() -> str:
    last = rows("grid", "islands.csv")[-1]
    text = (
        f"**Fitted to the teacher's grid**: neighbours {float(last['neighbours']):.3f}, any two "
        f"{float(last['any two']):.3f}, {_count(last['islands'])}, and {float(last['cosine']):.3f} to the "
        "teacher's tokens."
    )
    return _shown("grid", "islands.gif", text, "islands that form while an APM is fitted to the teacher's grid")


def _photograph() -> str:
    numbers = ", ".join(f"{float(row['neighbours']):.3f}" for row in rows("photograph", "levels.csv"))
    text = (
        "**Levels of a teacher**: GLOM's levels are a ViT's layers. Here are those of the embedded teacher, which was "
        f"trained on clothes, for a photograph; neighbours' cosine from level to level: {numbers}."
    )
    return _shown("photograph", "levels.png", text, "a teacher's four layers on a photograph of a cup of coffee")


def _levels() -> str:
    growth = rows("levels", "growth.csv")
    lines = [f"{row['with the level']} {row['verdict']}, by {row['last - first (95 % interval)']}" for row in growth]
    text = (
        f"**Does agreement grow with the level?** Over {int(growth[0]['images']):,} images, from the first level to "
        f"the last with 95 % intervals: {'; '.join(lines)}. *Beyond* is how much more neighbours agree than any two "
        "locations do. Another teacher may differ: the command takes any teacher and any folder of images."
    )
    return _shown("levels", "agreement.png", text, "agreement by level with intervals")


def _field() -> str:
    epochs = rows("field", "epochs.csv")
    last, seconds = epochs[-1], sum(float(row["seconds"]) for row in epochs)
    text = (
        f"**The field.** One APM on all images, {len(epochs)} epochs in {seconds:.0f} s on 2 cores: a cosine of "
        f"{float(last['validation cosine']):.3f} to the teacher's last layer on held-out images. "
        "[field.md](field.md) has the results for other layers and fewer images."
    )
    return _shown("field", "curve.png", text, "validation cosine and losses by epoch")


def _answer() -> str:
    ours = rows("answer", "field.csv")[0]
    text = (
        "For an image that it never saw, it answers with grid and colours in one pass: cosine "
        f"{float(ours['cosine']):.3f} to the teacher's grid, colours at {float(ours['rgb psnr dB']):.1f} dB."
    )
    return _shown("answer", "field.png", text, "the field's features and colours beside its teacher's")


def _walk() -> str:
    steps = rows("walk", "interpolation.csv")
    lowest = min(steps, key=lambda row: float(row["cosine to their blend"]))
    text = (
        "**One image turns into another** along the line between their columns. A cross-fade would have a cosine of 1 "
        f"to the blend of its ends' features all along; at {100 * float(lowest['share of B']):.0f} % of the way the "
        f"field's is {float(lowest['cosine to their blend']):.3f}."
    )
    return _shown("walk", "interpolation.webp", text, "a dress turns into an ankle boot")


def _count(islands: str) -> str:
    return "one island" if int(islands) == 1 else f"{int(islands)} islands"


def main() -> int:
    """Run commands, or write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", metavar="make [NAME ...]", help=f"names: {', '.join(COMMANDS)}")
    words = parser.parse_args().what
    if words and words[0] == "make" and (code := make(words[1:] or list(COMMANDS))):
        return code
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{section()}\n{END}{rest.split(END)[1]}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
