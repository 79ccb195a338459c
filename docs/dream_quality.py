"""Make ``docs/dream_quality.md``: how good the dreams of a fine field are, through either of its memories.

``python docs/dream_quality.py measure FOLDER`` takes the field that ``docs/fine_field.py measure FOLDER`` trains, makes
its memories where they are missing, and writes ``docs/dream/quality.json``; images that the field never saw are those
of Debian's ``dataset-fashion-mnist``. ``python docs/dream_quality.py`` makes the page from the numbers.

The kernel distance comes first: it is unbiased, while Frechet's falls with the number of pictures and is compared at
equal numbers only. Precision is the share of pictures among the references, recall that of references among the
pictures (Kynkaanniemi et al., 2019, 5 neighbours): a memory that copies a few images has short distances and no recall.
Both distances are torchmetrics', so that no number rests on a formula of ours.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tabulate import tabulate
from torch import Tensor, nn

from apm_tta.cli import main as run_bench
from apm_tta.data.fashion_mnist import DEBIAN_FOLDER, load_split
from apm_tta.data.unlabelled import all_images
from apm_tta.dream.columns import encoded, training_images
from apm_tta.dream.decoding import decode
from apm_tta.dream.judge import Judge, encoded_pictures, judge_of
from apm_tta.dream.memory import Kind, Memory
from apm_tta.dream.memory_file import load_memory, memory_path
from apm_tta.dream.show_dream import Night, walk
from apm_tta.dream.towards import towards_text
from apm_tta.field.checkpoint import CHECKPOINT_FILE, Field, load_field
from apm_tta.randomness import torch_generator
from apm_tta.teachers import load_teacher

NUMBERS = Path(__file__).with_name("dream") / "quality.json"
PAGE = Path(__file__).with_name("dream_quality.md")
DATA = "fashion-mnist"
COUNT, STEPS, SEED = 1000, 100, 0
"""Pictures of every kind, and steps of every dream."""
KINDS: tuple[Kind, ...] = ("density", "network")
TEXTS = ("a photo of a t-shirt", "a photo of a bag", "a photo of a sneaker")
TOWARDS = 64
NEIGHBOURS, HALVES = 5, 40
FACTOR = 4


def features_given(width: int) -> nn.Module:
    """Return a network that returns the features that it is given in place of images."""
    network = nn.Identity()
    network.num_features = width  # type: ignore[assignment]
    return network


def kernel_distance(pictures: Tensor, references: Tensor) -> float:
    """Compute the unbiased kernel distance (polynomial of degree 3) between features ``(N, F)`` and ``(M, F)``."""
    from torchmetrics.image.kid import KernelInceptionDistance

    with warnings.catch_warnings(), torch.random.fork_rng([]):
        warnings.simplefilter("ignore", UserWarning)  # of memory, for all features are kept
        size = min(len(pictures), len(references))
        metric = KernelInceptionDistance(features_given(pictures.shape[1]), subsets=1, subset_size=size)
        return compared(metric, pictures, references)


def frechet_distance(pictures: Tensor, references: Tensor) -> float:
    """Compute the Frechet distance between Gaussians fitted to features ``(N, F)`` and ``(N, F)``.

    Raises:
        ValueError: for unequal numbers, at which it says nothing.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    if len(pictures) != len(references):
        raise ValueError(f"{len(pictures)} pictures and {len(references)} references are not equally many")
    return compared(FrechetInceptionDistance(features_given(pictures.shape[1])), pictures, references)


def compared(metric: Any, pictures: Tensor, references: Tensor) -> float:
    """Let a metric of torchmetrics compare features."""
    metric.update(references, real=True)
    metric.update(pictures, real=False)
    found = metric.compute()
    return float(found[0] if isinstance(found, tuple) else found)


def precision(pictures: Tensor, references: Tensor) -> float:
    """Return the share of pictures that lie within the fifth neighbour's distance of a reference."""
    radius = torch.cdist(references, references).kthvalue(NEIGHBOURS + 1, dim=1).values  # each is its own first one
    return float((torch.cdist(pictures, references) <= radius).any(1).float().mean())


def recall(pictures: Tensor, references: Tensor) -> float:
    """Return the share of references that lie within the fifth neighbour's distance of a picture."""
    return precision(references, pictures)


MEASURES: dict[str, Callable[[Tensor, Tensor], float]] = {
    "kernel distance": kernel_distance,
    "Fréchet distance": frechet_distance,
    "precision": precision,
    "recall": recall,
}


def quality(pictures: Tensor, references: Tensor) -> dict[str, list[float]]:
    """Return every measure and half of its 95 % interval's width.

    The interval is from random halves of both: the variance of a mean over half of a sample around that over all of it
    is the variance of the latter.
    """
    count, generator = len(pictures), torch_generator(SEED, DATA, "halves")
    halves = [
        [torch.randperm(count, generator=generator)[: count // 2] for _ in (pictures, references)]
        for _ in range(HALVES)
    ]
    found = {}
    for name, measure in MEASURES.items():
        parts = torch.tensor([measure(pictures[ours], references[theirs]) for ours, theirs in halves])
        found[name] = [measure(pictures, references), 1.96 * float(parts.std())]
    return found


def measure(folder: Path) -> None:
    """Dream, and store how good the dreams are."""
    torch.set_num_threads(1)
    checkpoint = folder / "fine" / CHECKPOINT_FILE
    if not all(memory_path(checkpoint, kind).exists() for kind in KINDS):
        words = ["remember", "--checkpoint", str(checkpoint), "--device", "cpu", "--quiet"]
        if run_bench(words):
            raise SystemExit("run-bench remember failed")
    field, teacher = load_field(checkpoint, torch.device("cpu")), load_teacher("embedded", torch.device("cpu"))
    judge = judge_of(teacher, [DATA])
    learned = encoded(field, training_images(field, all_images(DATA), DATA))
    photographs = unseen_images()
    unseen = torch.cat([columns_of(field, part) for part in photographs.split(64)])
    memories = {kind: load_memory(checkpoint, kind, field)[0] for kind in KINDS}
    pictures = pictures_of(field, memories, learned, unseen[COUNT:])
    decoded = {"images that the field never saw": decode(field, unseen[:COUNT], FACTOR).colours}
    references = {name: encoded_pictures(teacher, colours) for name, colours in decoded.items()}
    references["photographs that it never saw"] = encoded_pictures(teacher, photographs[:COUNT])
    seen = encoded_pictures(teacher, decode(field, learned, FACTOR).colours)
    rows = {}
    for name, colours in pictures.items():
        found = encoded_pictures(teacher, colours)
        rows[name] = {
            **{reference: quality(found, theirs) for reference, theirs in references.items()},
            "nearest": nearest(found, seen, own=name == "training images"),
            "classes": classes_of(judge, found),
        }
        print(name, rows[name], flush=True)
    towards = {text: drawn_towards(text, memories["density"], field, judge) for text in TEXTS}
    NUMBERS.write_text(json.dumps({"rows": rows, "towards": towards}, indent=1) + "\n", encoding="utf-8")


def unseen_images() -> Tensor:
    """Return twice ``COUNT`` test images that are not embedded, ``(N, 28, 28, 3)`` in 0 .. 1."""
    carried = {np.asarray(image.read())[..., 0].tobytes() for image in all_images(DATA)}
    images, _ = load_split(DEBIAN_FOLDER, "test")
    chosen = [image for image in images if image.tobytes() not in carried][: 2 * COUNT]
    return torch.from_numpy(np.stack(chosen)).float()[..., None].expand(-1, -1, -1, 3) / 255


def columns_of(field: Field, colours: Tensor) -> Tensor:
    """Encode pictures ``(N, h, w, 3)`` as columns ``(N, D)``."""
    pixels = [field.pixels.prepare(Image.fromarray((each * 255).round().byte().numpy())) for each in colours]
    with torch.no_grad():
        return field.apm.column(torch.stack(pixels))


def pictures_of(field: Field, memories: dict[Kind, Memory], learned: Tensor, others: Tensor) -> dict[str, Tensor]:
    """Return ``COUNT`` pictures of every kind, ``(COUNT, h, w, 3)``.

    Args:
        field: decodes columns.
        memories: of the field.
        learned: columns of its training images.
        others: columns of images that it never saw, other ones than those that dreams are compared with.
    """
    generator = torch_generator(SEED, DATA, "pictures")
    columns = {"other unseen images": others[:COUNT]}
    columns["training images"] = learned[torch.randperm(len(learned), generator=generator)[:COUNT]]
    for kind, memory in memories.items():
        states = walk(Night(memory, kind, "langevin", COUNT, STEPS, STEPS, SEED)).points
        columns[f"{kind}, drawn directly"] = of_points(memory, states[0])
        columns[f"{kind}, after {STEPS} steps"] = of_points(memory, states[-1])
        paths = walk(Night(memory, kind, "path", COUNT, 2, 1, SEED)).points
        columns[f"{kind}, middle of a path"] = of_points(memory, paths[1])
    ends = [torch.randint(len(learned), (COUNT,), generator=generator) for _ in range(2)]
    columns["middle of two training images"] = (learned[ends[0]] + learned[ends[1]]) / 2
    spread = torch.randn(COUNT, learned.shape[1], generator=generator)
    columns["noise, of the columns' mean and deviations"] = learned.mean(0) + learned.std(0) * spread
    pictures = {name: decode(field, each, FACTOR).colours for name, each in columns.items()}
    read = linear_read_out(learned, decode(field, learned, FACTOR).colours)
    pictures["density, drawn directly, read out linearly"] = read(columns["density, drawn directly"])
    return pictures


def of_points(memory: Memory, points: Tensor) -> Tensor:
    """Return the columns of states as they are decoded."""
    return memory.basis.columns(memory.shown(points))


def linear_read_out(columns: Tensor, colours: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the linear map from columns ``(N, D)`` to the field's colours ``(N, h, w, 3)``, by least squares."""
    with_one = torch.cat([columns, torch.ones(len(columns), 1)], 1).double()
    found = torch.linalg.lstsq(with_one, colours.flatten(1).double(), driver="gelsd").solution

    def read(others: Tensor) -> Tensor:
        flat = torch.cat([others, torch.ones(len(others), 1)], 1).double() @ found
        return flat.float().clamp(0, 1).unflatten(1, colours.shape[1:])

    return read


def nearest(pictures: Tensor, seen: Tensor, own: bool) -> list[float]:
    """Return the mean distance of features to those of the nearest training image, and half its interval's width."""
    distances = torch.cdist(pictures, seen).sort(1).values[:, int(own)]  # the nearest of a training image is itself
    return [float(distances.mean()), 1.96 * float(distances.std()) / len(distances) ** 0.5]


def classes_of(judge: Judge, pictures: Tensor) -> dict[str, int]:
    """Count the nearest classes of pictures."""
    counts = judge.probabilities(pictures).argmax(1).bincount(minlength=len(judge.classes)).tolist()
    return dict(zip(judge.classes, counts, strict=True))


def drawn_towards(text: str, memory: Memory, field: Field, judge: Judge) -> dict[str, list[float]]:
    """Dream towards a text, and return how the pictures' cosines to it change, and the tokens'."""
    towards = towards_text(text, field, judge.teacher)
    points = walk(Night(memory, "density", "langevin", TOWARDS, STEPS, STEPS, SEED, towards)).points[[0, -1]]
    columns = [of_points(memory, each) for each in points]
    pictures = [decode(field, each, FACTOR).colours for each in columns]
    seen = [encoded_pictures(judge.teacher, each) @ towards.embedding for each in pictures]
    with torch.no_grad():
        token = [towards.agreement(each) for each in columns]
    return {
        "picture": [*map(mean_of, seen), float((seen[1] > seen[0]).float().mean())],
        "token": [*map(mean_of, token), float((token[1] > token[0]).float().mean())],
    }


def mean_of(values: Tensor) -> float:
    """Return the mean as a plain number."""
    return float(values.mean())


def page() -> str:
    """Return the page as Markdown."""
    stored = json.loads(NUMBERS.read_text(encoding="utf-8"))
    rows = stored["rows"]
    references = [name for name in next(iter(rows.values())) if name not in ("nearest", "classes")]
    parts = [
        "# How good the dreams of a field are",
        "Made by `python docs/dream_quality.py` from `docs/dream/quality.json`, which `python docs/dream_quality.py "
        f"measure FOLDER` writes: the fine field of [fine_field.md](fine_field.md), {COUNT:,} pictures of every kind, "
        f"decoded at 32 x 32, dreams of {STEPS} steps. Every picture is encoded anew by the embedded teacher; "
        "distances are between these features. The references are images that the field never saw: decoded by it, "
        "which asks how far a memory is from the columns of real images, and as photographs, which asks of the field's "
        "colours too. Other unseen images are the line to meet, want of variety shows in the recall, and the last row "
        "is what the columns alone say, without the field's network. 95 % intervals from random halves.",
        *(part for name in references for part in (f"**Against {name}**", table_against(rows, name))),
        "**Copies and classes.** Distance to the nearest training image, as decoded; a memory of copies would lie far "
        "below unseen images. Classes by the teacher, of ten: how many, and the share of the most frequent one.",
        table_of_classes(rows),
        said_of(rows, references[0]),
        f"**Towards a text**, {TOWARDS} dreams through the density: cosine of the pictures, encoded anew, and of the "
        "field's token, which drove the dreams.",
        table_of_texts(stored["towards"]),
    ]
    return "\n\n".join(parts) + "\n"


def table_against(rows: dict[str, Any], reference: str) -> str:
    """Return the table of distances to one reference."""
    body = []
    for name, row in rows.items():
        kernel, *others = (row[reference][measure] for measure in MEASURES)
        body.append([name, shown([1000 * each for each in kernel], 2), *(shown(each) for each in others)])
    first, *heads = MEASURES
    return tabulate(body, ["pictures", f"{first} x 1000", *heads], tablefmt="github", disable_numparse=True)


def table_of_classes(rows: dict[str, Any]) -> str:
    """Return the table of nearest training images and classes."""
    body = []
    for name, row in rows.items():
        counts: Sequence[int] = list(row["classes"].values())
        most = max(row["classes"], key=row["classes"].get)
        body.append([name, shown(row["nearest"]), sum(map(bool, counts)), f"{most} {max(counts) / sum(counts):.0%}"])
    heads = ["pictures", "to the nearest training image", "classes", "most frequent"]
    return tabulate(body, heads, tablefmt="github", disable_numparse=True)


def table_of_texts(towards: dict[str, Any]) -> str:
    """Return the table of texts."""
    body = []
    for text, found in towards.items():
        for what, (before, after, share) in found.items():
            body.append([text, what, f"{before:.3f}", f"{after:.3f}", f"{share:.0%}"])
    heads = ["text", "of", "before", f"after {STEPS} steps", "upwards in"]
    return tabulate(body, heads, tablefmt="github", disable_numparse=True)


def said_of(rows: dict[str, Any], reference: str) -> str:
    """Say which kinds of dreams cannot be told from unseen images by their kernel distance."""

    def interval(name: str) -> tuple[float, float]:
        value, margin = rows[name][reference]["kernel distance"]
        return value - margin, value + margin

    line = interval("other unseen images")
    alike = [name for name in rows if interval(name)[0] <= line[1] and name != "other unseen images"]
    told = "; ".join(alike) if alike else "none"
    return (
        "Not told from other unseen images by the kernel distance between decoded pictures, since the intervals meet: "
        f"{told}."
    )


def shown(value_and_margin: list[float], digits: int = 3) -> str:
    """Format a number with its margin."""
    value, margin = value_and_margin
    return f"{value:.{digits}f} ± {margin:.{digits}f}"


def main() -> None:
    """Measure where requested, and make the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", metavar="measure FOLDER")
    given = parser.parse_args()
    if given.what:
        measure(Path(given.what[1]))
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
