"""Make ``docs/forgetting.md``: whether a field can be made to forget images that it learned from.

``python docs/forgetting.py measure FOLDER`` trains one field on all training images and three without 50 of them, into
folders below FOLDER, or finishes what it finds there, makes the first forget in two ways, and writes
``docs/dream/forgetting.json``; ``python docs/forgetting.py`` makes the page from the numbers.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tabulate import tabulate
from torch import Tensor

from apm_tta.data.unlabelled import Unlabelled, all_images, by_digest
from apm_tta.field.checkpoint import CHECKPOINT_FILE, TrainingState
from apm_tta.field.samples import Samples
from apm_tta.field.settings import Settings
from apm_tta.field.train_field import prepare
from apm_tta.field.training import fresh_training, train
from apm_tta.islands.levels import Estimate, mean_with_interval
from apm_tta.teachers import Teacher, load_teacher

NUMBERS = Path(__file__).with_name("dream") / "forgetting.json"
PAGE = Path(__file__).with_name("forgetting.md")
DATA = "fashion-mnist"
EPOCHS, FORGOTTEN, REFERENCES = 128, 50, 3
STEPS, BATCH, RATE, SLOW = 140, 128, 3e-4, 3e-5
"""Budget of each way to forget."""
HELD = 10.0
"""Weight of what the answers for other images may move, over the variance of features."""
AT_ONCE = 256


def losses_of(state: TrainingState, samples: Samples, batch: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return losses ``(B,)`` as in training at all locations, and the features there, ``(B, L, F)``."""
    sampled, width = samples.get(batch), state.settings.width
    locations = sampled.locations(torch.arange(sampled.tokens.shape[1]))
    column = state.apm.column(samples.normalized(sampled.pixels))
    standardised = state.apm.query(column, locations)
    features = (standardised * state.std + state.mean)[..., :width]
    variance = state.std[:width].square().mean()
    grid = (features - sampled.tokens[..., :width]).square().mean((1, 2)) / variance
    colours = state.apm.colours(column, standardised, locations)
    rgb = (colours - sampled.colours).square().mean((1, 2))
    return grid + state.settings.schedule.rgb_weight * rgb, features


def in_order(samples: Samples) -> list[range]:
    """Return all samples in batches."""
    return [range(start, min(start + AT_ONCE, len(samples))) for start in range(0, len(samples), AT_ONCE)]


@torch.no_grad()
def image_losses(state: TrainingState, samples: Samples) -> np.ndarray[Any, Any]:
    """Return the loss of every sample, ``(N,)``: what membership is told by."""
    found = torch.cat([losses_of(state, samples, part)[0] for part in in_order(samples)])
    return found.double().numpy()


def fit_on(state: TrainingState, kept: Samples) -> None:
    """Train on with the images that may be kept."""
    descend(state, len(kept), lambda batch: losses_of(state, kept, batch)[0].mean())


def ascend(state: TrainingState, forgotten: Samples, kept: Samples, unseen: float, rate: float) -> None:
    """Raise the loss of every forgotten image to ``unseen``, and hold the answers for the others where they are.

    Args:
        state: changed in place.
        forgotten: images to forget.
        kept: images whose answers are to stay.
        unseen: mean loss of images that the field never saw.
        rate: Adam's.
    """
    with torch.no_grad():
        before = torch.cat([losses_of(state, kept, part)[1] for part in in_order(kept)])
    generator = torch.Generator().manual_seed(1)
    variance = state.std[: state.settings.width].square().mean()

    def loss(batch: Sequence[int]) -> Tensor:
        chosen = torch.randint(len(forgotten), (BATCH,), generator=generator).tolist()
        lacking = (unseen - losses_of(state, forgotten, chosen)[0]).clamp(min=0)
        moved = (losses_of(state, kept, batch)[1] - before[batch]).square().mean() / variance
        return lacking.mean() + HELD * moved

    descend(state, len(kept), loss, rate)


def descend(state: TrainingState, count: int, loss: Callable[[Sequence[int]], Tensor], rate: float = RATE) -> None:
    """Take the budget's steps down a loss of batches drawn from ``count`` samples."""
    generator = torch.Generator().manual_seed(0)
    parameters = [parameter for group in state.optimizer.param_groups for parameter in group["params"]]
    optimizer = torch.optim.Adam(parameters, rate)
    for _ in range(STEPS):
        batch = torch.randint(count, (BATCH,), generator=generator).tolist()
        optimizer.zero_grad()
        loss(batch).backward()
        optimizer.step()


def measure(folder: Path) -> None:
    """Train, forget, and store how far each field is from those that never saw the images."""
    torch.set_num_threads(1)
    teacher = load_teacher("embedded", torch.device("cpu"))
    images = all_images(DATA)
    chosen = {"views": 1, "epochs": EPOCHS, "precision": "float32"}
    settings, training, validation, _ = prepare(images, teacher, chosen, None)
    learned = [image for image in images if image.id in set(training.ids)]
    forgotten = by_digest(learned)[:FORGOTTEN]
    kept = [image for image in learned if image.id not in {each.id for each in forgotten}]
    samples = {
        "the forgotten": of(forgotten, teacher, settings),
        "others that it learned": of(kept, teacher, settings),
        "images that none saw": validation,
    }
    for each in (training, *samples.values()):
        each.keep(lambda batches: batches)
    own = trained(folder / "all", settings, training, validation)
    fields = {"untouched": own}
    for seed in range(1, REFERENCES + 1):
        other = settings.model_copy(
            update={"training_images": len(kept), "schedule": settings.schedule.model_copy(update={"seed": seed})}
        )
        fields[f"never saw them, seed {seed}"] = trained(
            folder / f"without-{seed}", other, samples["others that it learned"], validation
        )
    unseen = float(image_losses(own, validation).mean())
    fields["fitted on without them"] = copy.deepcopy(own)
    fit_on(fields["fitted on without them"], samples["others that it learned"])
    for name, rate in (("ascent on them, others held", RATE), ("ascent at a tenth of the rate", SLOW)):
        fields[name] = copy.deepcopy(own)
        ascend(fields[name], samples["the forgotten"], samples["others that it learned"], unseen, rate)
    losses = {
        name: {which: image_losses(field, part) for which, part in samples.items()} for name, field in fields.items()
    }
    NUMBERS.write_text(json.dumps(summary(losses), indent=1) + "\n", encoding="utf-8")


def of(images: Sequence[Unlabelled], teacher: Teacher, settings: Settings) -> Samples:
    """Return samples of images, one view each."""
    return Samples(images, teacher, settings.schedule.layer, settings.config, 1, settings.schedule.seed)


def trained(folder: Path, settings: Settings, training: Samples, validation: Samples) -> TrainingState:
    """Train a field, or go on with what the folder has of it."""
    folder.mkdir(parents=True, exist_ok=True)
    state = fresh_training(settings, training, validation.ids, torch.device("cpu"))
    if (folder / CHECKPOINT_FILE).exists():
        state.resume(folder / CHECKPOINT_FILE)
    train(folder, state, training, validation, lambda batches: batches, lambda row: print(folder.name, row, flush=True))
    state.apm.eval()
    return state


def summary(losses: dict[str, dict[str, np.ndarray[Any, Any]]]) -> dict[str, Any]:
    """Return means, differences to the fields that never saw the images, paired by image, and membership."""
    from sklearn.metrics import roc_auc_score

    references = [name for name in losses if name.startswith("never")]
    found: dict[str, Any] = {}
    for name, own in losses.items():
        row: dict[str, Any] = {}
        others = [other for other in references if other != name]
        for which, values in own.items():
            floor = np.mean([losses[other][which] for other in others], axis=0)
            row[which] = {"loss": float(values.mean()), "difference": asdict(mean_with_interval(values - floor))}
        members = np.concatenate([own["the forgotten"], own["images that none saw"]])
        is_member = np.repeat([1, 0], [len(own["the forgotten"]), len(own["images that none saw"])])
        row["membership"] = float(roc_auc_score(is_member, -members))
        found[name] = row
    return found


def page() -> str:
    """Return the page as Markdown."""
    stored = json.loads(NUMBERS.read_text(encoding="utf-8"))
    which = [name for name in next(iter(stored.values())) if name != "membership"]
    body = []
    for name, row in stored.items():
        cells = [f"{row[each]['loss']:.3f}, {shown(row[each]['difference'])}" for each in which]
        body.append([name, *cells, f"{row['membership']:.3f}"])
    heads = ["field", *which, "membership AUC"]
    spread = {each: spread_of(stored, each) for each in which}
    parts = [
        "# Can a field forget?",
        "Made by `python docs/forgetting.py` from `docs/dream/forgetting.json`, which `python docs/forgetting.py "
        f"measure FOLDER` writes: a field of {EPOCHS} epochs on 1,800 images, one view each, is to forget {FORGOTTEN} "
        "of them. Three fields that never saw these, of other seeds, are what forgetting should lead to. Every way "
        f"takes {STEPS} steps of {BATCH} images, which is ten epochs. *Fitted on* trains on with the others. *Ascent* "
        "raises the loss of the forgotten images up to that of images that no field saw, and holds the answers for the "
        "others; the lower rate was tried after the first had harmed all images.",
        tabulate(body, heads, tablefmt="github", disable_numparse=True),
        "Mean loss, then its difference to the mean of the fields that never saw them, paired by image, with its 95 % "
        "interval (a field of these: to the two others). Membership AUC: how well the loss tells the 50 from images "
        "that no field saw; 0.5 tells nothing.",
        *(verdict(name, stored[name], spread) for name in stored if not name.startswith("never")),
    ]
    return "\n\n".join(parts) + "\n"


def spread_of(stored: dict[str, Any], which: str) -> float:
    """Return how far the losses of the fields that never saw the images lie apart."""
    means = [row[which]["loss"] for name, row in stored.items() if name.startswith("never")]
    return max(means) - min(means)


def verdict(name: str, row: dict[str, Any], spread: dict[str, float]) -> str:
    """Say whether the images are forgotten, and what that cost the others."""
    difference = row["the forgotten"]["difference"]
    told = difference["low"] > 0 or difference["high"] < 0
    lost = {which: row[which]["difference"]["mean"] for which in spread if which != "the forgotten"}
    dear = [which for which, loss in lost.items() if loss > spread[which]]
    costs = "the others lose less than the references' spread"
    if dear:
        costs = f"it costs {' and '.join(dear)} more than the references' spread"
    forgotten = "the interval includes 0: not told from the fields that never saw them"
    if told:
        direction = "higher" if difference["mean"] > 0 else "lower"
        forgotten = f"told from the fields that never saw them by a loss that is {direction}"
    return f"**{name.capitalize()}**: {forgotten}; {costs}."


def shown(stored: dict[str, float]) -> str:
    """Format a difference with its interval."""
    one = Estimate(**stored)
    return f"{one.mean:+.3f} ({one.low:+.3f} .. {one.high:+.3f})"


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
