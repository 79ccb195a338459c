"""Make ``docs/methods.md`` from the methods' docstrings, defaults and costs, and from ``results/embedded/``, and
``docs/datasets.md`` and ``docs/data.md`` from the cards in ``datasets/``.

``python docs/make.py`` writes the pages; a test compares the committed pages with its output. So they state what code
and cards state, and ``run-bench`` wrote every number on the first.
"""

from __future__ import annotations

import inspect
import re
import sys
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from apm_tta.data.cards import DatasetCard, card_names, load_card
from apm_tta.data.corruptions import corruptions_for
from apm_tta.data.dataset import Dataset, open_dataset
from apm_tta.data.downloads import Download
from apm_tta.data.sample import CLEAN
from apm_tta.data.task import Task
from apm_tta.methods import METHODS, Cost, Method, build_parameters
from apm_tta.methods.presets import Published
from apm_tta.teachers import Teacher, load_teacher
from apm_tta.teachers.support_features import SupportedTeacher, encode_support
from apm_tta.wording import first_few

PAGE = Path(__file__).parent / "methods.md"
DATASETS_PAGE = Path(__file__).parent / "datasets.md"
DATA_PAGE = Path(__file__).parent / "data.md"
MOST_NAMED = 8
"""Domains of a set that are named one by one."""
RESULTS = Path(__file__).parent.parent / "results" / "embedded"
ORDER = [
    *("zeroshot", "ensemble", "vte", "tpt", "memo", "norm", "tent", "sar", "eta", "rdumb"),
    *("eata", "deyo", "roid", "cmf", "cotta", "rotta", "ctpt", "boostadapter", "dmn", "stata", "transclip"),
    *("zero", "mta", "tda", "t3a", "lame", "onzeta", "ecalp", "dpe"),
    *("watt", "clipartt", "batclip", "tps", "knn", "apm"),
]
HEAD = """# Methods

Made by `python docs/make.py` from the code itself: edit the docstrings, not this page.

Views: index 0 is the teacher's evaluation crop, the others are random resized crops with a random flip; crop scale is a
field of the suite. All methods of a run that need the same views share them, and each is charged for them. Where a
paper and its code differ, the code's value is the default and both are named below.

`preset=published` has everything as in the authors' script, with the source below each table.
[moved_parameters.yaml](moved_parameters.yaml) lists the parameters that each method moves in five networks.

Cost is in passes of the teacher per image, without class weights, which are computed once;
`benchmarks/test_perf_methods.py` counts the passes and FLOPs of every method and compares them with these formulas.
"""

DATASETS_HEAD = """# Data sets

Made by `python docs/make.py` from the cards in `datasets/`: edit these, not this page. A card also states where the set
comes from, how to get it, and the expected tree; `run-bench check NAME --data-root DIR` compares a folder with it.

`run-bench NAME` runs the suite of that name, where there is one. Images are those under one condition. The conditions
of a set are clean images and corruptions that are made of them as they are read; or the corruptions that it stores; or
its domains, each tested by itself, with the mean over them below the table.
"""


DATA_HEAD = """# Data sets and where they come from

Made by `python docs/make.py` from the cards in `datasets/`: edit the cards, not this page.

    run-bench get imagenet-a --data-root /data            # fetch, check size and digest, then run-bench check
    run-bench get imagenet-c --data-root /data --dry-run  # what, from where, how large, by whose digest, what is there
    run-bench get imagenet-c --data-root /data --only noise.tar --only blur.tar
    run-bench get dtd --data-root /data --unpack --mirror https://mirror.example.org/data

No address below was reached from where this page was made: each is repeated from the code, record or page named beside
it, as are sizes and digests. Where nobody states a digest, `run-bench get` says so, computes the SHA-256, and records
it in `.downloads.jsonl` beside the file; a later `get` and `run-bench check --deep` compare with it.

The same command goes on where it was stopped, also after a kill: over HTTP only where the server vouches, by
`If-Range`, that the file is still the same one; from Google Drive only where a digest tells afterwards. A file has its
name only when it is whole and right; what has come of it lies in `.NAME.partial`. Archives stay as they are; `--unpack`
unpacks them beside themselves, refuses entries that lead outside, links and devices, and leaves nothing of what it
refuses.

A token of Hugging Face (`hf auth login`) is used where there is one.
"""


def data_page() -> str:
    """Return the page of data sets as Markdown."""
    return "\n\n".join([DATA_HEAD.strip(), *(data_section(load_card(name)) for name in card_names())]) + "\n"


def data_section(card: DatasetCard) -> str:
    """Return what one card states of its files."""
    lines = [f"## {card.name}", "", f"{card.title}. Licence: {card.licence}. Source: {card.source}", ""]
    if not card.downloads:
        return "\n".join([*lines, f"Nothing for `run-bench get`: {card.get}."])
    lines += ["| file | address | bytes | address and size stated by | digest |", "|---|---|---:|---|---|"]
    lines += [row for download in card.downloads for row in data_rows(download)]
    steps = [f"`{download.name}` needs you: {download.steps}." for download in card.downloads if download.steps]
    return "\n".join([*lines, *(line for step in steps for line in ("", step))])


def data_rows(download: Download) -> list[str]:
    """Return what is stated of one file, and of those within it."""
    file = [
        f"`{download.folder}/{download.name}`".replace("`/", "`"),
        "<br>".join(download.addresses) or "not known, or not for everyone",
        f"{download.bytes:,}" if download.bytes else "not known",
        download.stated_by,
        stated(download.digests),
    ]
    inside = [[f"`{name}` in it", "", "", "", stated(digests)] for name, digests in download.contains.items()]
    return [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in (file, *inside)]


def stated(digests: dict[str, str]) -> str:
    """Return digests with who states them."""
    return "<br>".join(f"`{digest}`, stated by {origin}" for digest, origin in digests.items()) or "not known"


def page() -> str:
    """Return the whole page as Markdown."""
    dataset = open_dataset("fashion-mnist", limit=50)
    teacher = with_support(load_teacher("embedded"), dataset)
    task = Task(dataset.classes, dataset.template, dataset.card.family, (0.5, 1.0))
    special = {"norm": load_teacher("embedded-resnet")}
    methods = [METHODS.get(name)(special.get(name, teacher), task, build_parameters(name, {}), 0) for name in ORDER]
    return (
        "\n\n".join([HEAD.strip(), overview(methods, embedded_results()), *(section(method) for method in methods)])
        + "\n"
    )


def with_support(teacher: Teacher, dataset: Dataset) -> Teacher:
    """Add a few labelled images to the teacher, so that a method that needs them can report its cost."""
    entries = dataset.entries(CLEAN)
    images = [(dataset.read(entry, CLEAN).image, entry.label) for entry in entries]
    return SupportedTeacher(teacher, encode_support(teacher, images, dataset.classes, "none"), "text")  # type: ignore[return-value]


def embedded_results() -> pd.DataFrame:
    """Read the runs at severity 5; of a method that is in two runs of a teacher, take those with more images."""
    runs = pd.concat([pd.read_csv(file) for file in sorted(RESULTS.glob("*/severity-5-*/results.csv"))])
    return runs.sort_values("n", ascending=False, kind="stable").drop_duplicates(
        ["teacher", "corruption", "severity", "method"]
    )


def overview(methods: list[Method], results: pd.DataFrame) -> str:
    """Return one row per method: protocol, cost, and top-1 with the embedded teachers."""
    corrupted = results[results["corruption"] != "clean"]
    severity = "/".join(str(value) for value in sorted(corrupted["severity"].unique()))
    images = " or ".join(str(count) for count in sorted(results["n"].unique(), reverse=True))
    teachers = sorted(results["teacher"].unique())
    columns = [f"{teacher}: {part} top-1 %" for teacher in teachers for part in ("clean", "corrupted")]
    lines = [
        f"On the embedded set (n = {images} per condition; clean, and the mean of {corrupted['corruption'].nunique()} "
        f"corruptions at severity {severity}; [results/embedded](../results/embedded/README.md)):",
        "",
        f"| method | paper | protocol | adapts | cost | GFLOP per image | {' | '.join(columns)} |",
        f"|---|---|---|---|---|---:|{'---:|' * len(columns)}",
    ]
    for method in methods:
        own = results[results["method"] == method.name]
        numbers = []
        for teacher in teachers:
            of_teacher = own[own["teacher"] == teacher]
            clean = of_teacher["corruption"] == "clean"
            parts = (of_teacher[clean], of_teacher[~clean])
            numbers += [f"{part['top1'].mean():.1f}" if len(part) else "n/a" for part in parts]
        gflop = own.loc[own["teacher"] == teachers[0], "gflop_per_image"]
        flops = f"{gflop.median():.2f}" if gflop.notna().any() else "n/a"
        lines.append(
            f"| [{method.name}](#{method.name}) | {method.paper} | {method.protocol} | {method.adapts} | "
            f"{cost_in_words(method.cost())} | {flops} | {' | '.join(numbers)} |"
        )
    return "\n".join(lines)


def datasets_page() -> str:
    """Return the page of data sets as Markdown."""
    rows = ["| name | task | classes | images | conditions | licence |", "|---|---|---|---|---|---|"]
    for card in map(load_card, card_names()):
        classes = "any" if card.class_count is None else f"{card.class_count:,}"
        rows.append(
            f"| [{card.name}](../datasets/{card.name}.yaml) | {card.title}: {card.task} | {classes} | "
            f"{_images(card)} | {_conditions(card)} | {card.licence} |"
        )
    return "\n\n".join([DATASETS_HEAD.strip(), "\n".join(rows)]) + "\n"


def _images(card: DatasetCard) -> str:
    known = [number for number in (card.domains.values() or [card.images]) if number is not None]
    if not known:
        return "not known" if card.domains else "any"
    return f"{min(known):,}" + (f" to {max(known):,}" if max(known) > min(known) else "")


def _conditions(card: DatasetCard) -> str:
    if card.domains:
        names = [*card.domains]
        listed = ", ".join(names) if len(names) <= MOST_NAMED else first_few(names)
        return f"{len(names)} domains: {listed}"
    if card.stored_corruptions:
        return f"{len(card.stored_corruptions)} stored corruptions at 5 severities"
    return f"clean; {len(corruptions_for(card.corruption_parameters))} corruptions at 5 severities"


def section(method: Method) -> str:
    """Return equation, defaults with their sources, and cost of one method."""
    kind = type(method)
    texts = [prose(thing) for thing in (kind, *equations_of(kind))]
    parameters = documented(kind.Parameters)
    defaults = asdict(build_parameters(method.name, {}))
    rows = [f"| `{name}` | `{defaults[name]}` | {text} |" for name, text in parameters.items()]
    published = [] if kind.published is None else ["", as_published(method.name, kind.published)]
    return "\n".join(
        [
            f"## {method.name}",
            "",
            f"{method.summary[0].upper()}{method.summary[1:]} ({method.paper}). Protocol: {method.protocol}. "
            f"Adapts: {method.adapts}. Cost per image: {cost_in_words(method.cost())}. Keeps: {method.keeps}."
            f"{not_compared(method)}",
            "",
            *[line for text in texts for line in (text, "")],
            "| parameter | default | meaning and source |",
            "|---|---|---|",
            *rows,
            *published,
        ]
    )


def equations_of(kind: type[Method]) -> list[object]:
    """Return what has equations in the module of a method, or in one that it shares with few others."""
    module = inspect.getmodule(kind)
    own = (getattr(module, "__name__", ""), "apm_tta.methods.neighbour_assignment")
    found = [value for value in vars(module).values() if callable(value) and getattr(value, "__module__", "") in own]
    return [value for value in found if value is not kind and ".. math::" in (getattr(value, "__doc__", "") or "")]


def not_compared(method: Method) -> str:
    """Return the sentence on what the method's numbers must not be compared with; empty where there is nothing."""
    stream = "numbers of other streams or resets"
    beside = {
        "episodic": [],
        "online": [stream if method.stream_batch is None else f"{stream} or images per batch"],
        "transductive": ["methods that answer images as they come"],
    }[method.protocol]
    if method.knows:
        beside.append(f"methods that do not know {method.knows}")
    return f" Not to be compared with: {'; '.join(beside)}." if beside else ""


def as_published(name: str, published: Published) -> str:
    """Return the sentence on what the preset sets, and by which script."""
    values = "; ".join(f"`{key}` {value}" for key, value in published.values.items())
    tuned = " The values were chosen for each data set on its test images." if published.tuned_per_dataset else ""
    return f"`--set {name}.preset=published`: {values or 'nothing else'}. Source: {published.source}.{tuned}"


def cost_in_words(cost: Cost) -> str:
    """Return a cost as ``64 image forwards, 2 text forwards, 1 text backward``."""
    counted = {
        "image forward": cost.image_forwards,
        "image backward": cost.image_backwards,
        "text forward": cost.text_forwards,
        "text backward": cost.text_backwards,
    }
    words = [f"{number} {name}{'' if number == 1 else 's'}" for name, number in counted.items() if number]
    return ", ".join([*words, cost.other] if cost.other else words)


def prose(thing: object) -> str:
    """Return a docstring without its sections of arguments, as Markdown."""
    text = inspect.getdoc(thing) or ""
    return markdown(re.split(r"\n(?:Args|Attributes|Returns|Raises):\n", text)[0].strip())


def documented(parameters: type) -> dict[str, str]:
    """Return the docstring's text on each field."""
    text = (inspect.getdoc(parameters) or "").partition("Attributes:\n")[2]
    fields = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", text, flags=re.MULTILINE)
    return {name: markdown(" ".join(words.split())) for name, words in fields}


def markdown(text: str) -> str:
    """Convert the docstrings' reStructuredText to GitHub's Markdown."""
    text = re.sub(r":math:`([^`]*)`", r"$`\1`$", text)
    text = re.sub(r"``([^`]+)``", r"`\1`", text)
    blocks = re.split(r"(?m)^\.\. math::", text)
    parts = [blocks[0]]
    for block in blocks[1:]:
        lines = block.split("\n")
        stop = next((i for i, line in enumerate(lines) if i and line.strip() and not line.startswith(" ")), len(lines))
        equation = "\n".join(line.strip() for line in lines[:stop] if line.strip())
        if "&" in equation:
            equation = f"\\begin{{aligned}}\n{equation}\n\\end{{aligned}}"
        parts += [f"```math\n{equation}\n```\n", "\n".join(lines[stop:])]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).strip()


if __name__ == "__main__":
    for path, made in ((DATASETS_PAGE, datasets_page), (DATA_PAGE, data_page), (PAGE, page)):
        path.write_text(made(), encoding="utf-8")
        sys.stdout.write(f"{path}\n")
