"""Make ``docs/verify.md``: what ``run-bench verify`` prints, and how to read it.

``python docs/verify.py measure`` runs the embedded teachers over the whole embedded set, writes their accuracy into
``docs/verify/published.csv`` as if it were published, and records what the commands of the page print.
``python docs/verify.py`` makes the page from that, and a test compares the committed page with its output.
"""

from __future__ import annotations

import inspect
import io
import os
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import apm_tta
from apm_tta.cli import main
from apm_tta.verification.causes import CAUSES
from apm_tta.verification.interval import ALLOWANCE, CONFIDENCE, whole_set_interval

PAGE, FOLDER = Path(__file__).with_name("verify.md"), Path(__file__).with_name("verify")
TABLE = "docs/verify/published.csv"
COMMANDS = {
    "inside": ["verify", "embedded", "fashion-mnist", "--limit", "300", "--published", TABLE],
    "outside": ["verify", "embedded-resnet", "fashion-mnist", "--limit", "300", "--published", TABLE],
}
"""The commands of the page, started in the root of the checkout, by the name of the file with their output."""


def measure() -> None:
    """Write the table and the output of both commands."""
    os.chdir(PAGE.parent.parent)
    top1 = {}
    for teacher in ("embedded", "embedded-resnet"):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "run"
            options = {"methods": "zeroshot", "corruptions": [], "limit": 0, "quiet": True, "out": out}
            top1[teacher] = apm_tta.run("demo", teacher=teacher, **options).results["top1"].item()
    lines = [
        "source,teacher,method,dataset,metric,value,images,split,templates",
        f"a right table,embedded,zeroshot,fashion-mnist,top1,{top1['embedded']:.2f},,,",
        "a table of the whole test set,embedded,zeroshot,fashion-mnist,top1,90.00,10000,all test images,",
        "a table that says nothing of its template,embedded-resnet,zeroshot,fashion-mnist,top1,"
        f"{top1['embedded-resnet']:.2f},,,docs/verify/bare_names.txt",
    ]
    (FOLDER / "published.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name, words in COMMANDS.items():
        (FOLDER / f"{name}.txt").write_text(printed(words), encoding="utf-8")


def printed(words: list[str]) -> str:
    """Return what a command prints, and its exit code."""
    output = io.StringIO()
    with redirect_stdout(output), redirect_stderr(output):
        code = main(words)
    return f"{output.getvalue()}exit code {code}\n"


def page() -> str:
    """Return the whole page as Markdown."""
    shown = {name: (FOLDER / f"{name}.txt").read_text(encoding="utf-8") for name in COMMANDS}
    blocks = {name: f"```text\n$ run-bench {' '.join(COMMANDS[name])}\n{shown[name]}```" for name in COMMANDS}
    causes = "\n".join(f"| {name} | {_first_line(CAUSES.get(name))} |" for name in CAUSES.names())
    return f"""# Is it the published number?

Made by `python docs/verify.py` from what the commands printed.

Before a week of computing: does the teacher alone, on this machine, with these files, have the accuracy that others
published for it?

```console
$ run-bench verify ViT-B-16:openai imagenet --data-root DATA --limit 5000
```

answers 5,000 images, spread evenly over the classes, under the protocol of every published row of that teacher alone on
that set ([results/published](../results/published)): its sentences, its class names, its corruptions. The teacher's own
preprocessing is that of its release. Exit code 0: every row that can be compared is inside. 3: one is outside. 2: none
can be compared, or nothing is published. The same from Python: `apm_tta.verify("ViT-B-16:openai", "imagenet", 5000)`.

## A right run

The table of these examples, [verify/published.csv](verify/published.csv), has what the embedded teachers get on all
2,000 images of the embedded set.

{blocks["inside"]}

The second row is of other images, so that its difference would mean nothing: it *cannot be compared*, and the line says
why. Where the card states the numbers of images and classes, that is said before any image or weight is there.

## A wrong one

Here the row says that its sentences are those of [verify/bare_names.txt](verify/bare_names.txt), which has the bare
class names. The number was made with a sentence.

{blocks["outside"]}

Read it from the top. The row is outside; the first line of the table is the attempt that comes nearest to the published
number, and *inside* stands where an attempt is compatible with it. An attempt is one change, all else as in the row. It
can be a mistake of this run (the labels of a folder in another order) or of the published one (a template that the
paper does not mention): the table tells which choice the two numbers do not share, not who is right. Several attempts
inside mean that these images do not tell them apart: take more with `--limit`. The line *not tried* names what makes no
sense for this teacher or these names.

Attempts with other words or another order of labels reuse the image features; the others encode the images again, all
of them in one pass over the files, so that this takes about as long as a dozen runs of these images.

Where no single cause brings the number inside, pairs of attempts at two causes are tried, and those that do are named
as *one together with the other*, at most five. Only pairs are tried that encode no image again and at most one prompt a
class: two ways to make the network's input are never joined. There may be hundreds of pairs, so that one of them may
come inside by chance where its two causes say little; take more images before believing it.

| cause | what is tried |
|---|---|
{causes}

Each is one file in `apm_tta/verification/causes/`. A package adds its own by an entry point in the group
`apm_tta.causes`: a function that takes a `Case` and returns `Attempt`s.

## The interval

The published number is of all N images; the run has answered n of them, k correctly. If all N had been answered, K of
them would be right. The interval holds every K / N under which k is not among the {50 * (1 - CONFIDENCE):.1f} % of the
lowest or highest counts that a draw of n images without replacement gives (hypergeometric distribution): Clopper's and
Pearson's interval, {100 * CONFIDENCE:.0f} %, for a finite set. It was chosen over Wilson's because it never covers less
than it says, at 99 % accuracy as at 50 %, and because it narrows to the accuracy itself as the subset becomes the set.
Images are spread evenly over the classes, which makes the draw vary less than a random one, so that false alarms are
rarer than {100 * (1 - CONFIDENCE):.0f} %; `tests/verification/test_verification_interval.py` counts them.

The published number is taken as the span of its rounding, ± half its last digit, and ± {ALLOWANCE} percentage points
for what one protocol leaves open: half precision, library versions, decoders. Two tables of the same group, LAION's
CLIP_benchmark and open_clip's, have 91 numbers of the same teachers on the same sets; nine in ten agree within 0.2
points, and all within 0.31.

A mean over 15 corruptions has the interval of one: the corruptions show the same images, so that fifteen answers to an
image tell less than answers to fifteen images.

| n of 50,000 | interval at 66.7 % |
|---:|---|
{_widths()}

## One's own numbers

`--published FILE` takes a CSV in place of the package's tables. Columns: `teacher`, `dataset`, `value` (or `top1`,
`top5`, `error`), in percent as printed: 63.0 is rounded otherwise than 63. Where they are there: `source`; `method`,
`zeroshot` (default), `ensemble` or `source` (a network's own head); `metric`; `images` and `classes`, the numbers of
the published set; `split`, in words; `templates`, a name of `run-bench list templates` or a file; `names`,
`underscored` for underscores in class names; `severity`, for a mean over the corruptions of the set's suite; `subset`,
a list such as `robustbench-5k`.

In the package's tables the column `run` says which command gives the number that compares with a row, of every method:
`python scripts/make_published_runs.py` fills it, and a test resolves every command. What a source's numbers are of,
where that is not what our runs do by default, is in [sources.yaml](../results/published/sources.yaml).
"""


def _first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ").removeprefix("Try ").rstrip(".")


def _widths() -> str:
    rows = []
    for images in (500, 1000, 5000, 20_000, 50_000):
        low, high = whole_set_interval(round(0.667 * images), images, 50_000)
        rows.append(f"| {images:,} | {100 * low:.1f} to {100 * high:.1f} |")
    return "\n".join(rows)


if __name__ == "__main__":
    if sys.argv[1:] == ["measure"]:
        measure()
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
