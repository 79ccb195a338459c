"""``run-bench train-field``: from a folder of images and a teacher to a checkpoint, its curve, and a text."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from apm_tta.apm import APMConfig
from apm_tta.data.unlabelled import Unlabelled, by_digest
from apm_tta.errors import UserError
from apm_tta.field.checkpoint import CHECKPOINT_FILE, Measures, Trained, refuse_other_training
from apm_tta.field.samples import Samples, images_digest, split
from apm_tta.field.settings import Settings, schedule_for, sizes_of
from apm_tta.field.training import fresh_training, mean_token_cosine, train, validate
from apm_tta.files import unwritable
from apm_tta.islands.gallery import titled
from apm_tta.islands.number_tables import as_csv, as_table
from apm_tta.islands.picture_folder import PictureFolder
from apm_tta.islands.strip import Chart, Curve, strip
from apm_tta.islands.targets import sizes_for_grid
from apm_tta.stop_signals import stop_code, stop_word, terminable
from apm_tta.teachers import Teacher
from apm_tta.teachers.square import Square
from apm_tta.writer_lock import only_writer

# The pretraining variant of the public code, for teachers whose APM has the published sizes.
_PRETRAINING = (4096, 4096, 4096, 2048, 1024)
# In units of the column's width: a small field holds many images, a fresh APM one.
_UNITS = (16, 8, 8)
_SHOWN = 8  # rows of the history


def _silent(_text: str) -> None:
    """Tells nobody."""


def train_field(
    out: Path | None,
    images: Sequence[Unlabelled],
    teacher: Teacher,
    asked: Mapping[str, Any],
    hidden: tuple[int, ...] | None = None,
    quiet: bool = False,
    say: Callable[[str], None] = _silent,
) -> str:
    """Trains a field, or goes on with one that was stopped; -> the text.

    Args:
        out: folder of the checkpoint; None for a new one below the current folder.
        images: all of them, of which one in ten is held out.
        teacher: gives the targets.
        asked: fields of ``Schedule``, its layer counted from 0 or from the end; what is left out suits the APM's sizes.
        hidden: widths of the MLP; None for the pretraining variant's, or a small teacher's.
        quiet: whether no progress is shown.
        say: is told what a person should know before it takes long.

    Raises:
        UserError: when an image cannot be read, the teacher has no tokens of that layer, or the folder holds another
            training; when it is stopped, saying how to go on.
    """
    folder = PictureFolder(out, "field")
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder.path, error) from None
    with terminable(), only_writer(folder.path):
        try:
            return _train(folder, images, teacher, asked, hidden, quiet, say)
        except KeyboardInterrupt as stop:
            raise UserError(
                f"{stop_word(stop)}; every epoch that was done is kept in {folder.path}, and the same command with "
                f"--out {folder.path} goes on",
                exit_code=stop_code(stop),
            ) from None


def _train(
    folder: PictureFolder,
    images: Sequence[Unlabelled],
    teacher: Teacher,
    asked: Mapping[str, Any],
    hidden: tuple[int, ...] | None,
    quiet: bool,
    say: Callable[[str], None],
) -> str:
    settings, training, validation, seen = _settled(images, teacher, asked, hidden)
    path = folder.path / CHECKPOINT_FILE
    if path.exists():
        refuse_other_training(path, settings)

    def watch(what: str) -> Callable[[Sequence[Sequence[int]]], tqdm[Sequence[int]]]:
        return lambda batches: tqdm(batches, desc=what, leave=False, disable=quiet or None)

    kept = training.keep(watch("teacher: training images")) and validation.keep(watch("teacher: validation images"))
    if not kept:
        say("the images and their tokens do not fit into half of the free memory: they are made anew at every epoch")
    schedule = settings.schedule
    state = fresh_training(settings, training, validation.ids, teacher.device)
    if path.exists():
        state.resume(path)
        say(f"{path} has {len(state.epochs)} of {schedule.epochs} epochs; going on")
    baseline = mean_token_cosine(training, validation, settings.width)

    def report(row: Measures) -> None:
        if not quiet:
            say(
                f"epoch {row['epoch']}/{schedule.epochs}: validation cosine {row['validation cosine']:.4f}, "
                f"mse {row['validation mse']:.3f}, rgb mse {row['validation rgb mse']:.4f}, {row['seconds']:.1f} s"
            )

    train(folder.path, state, training, validation, watch("training"), report)
    summary = {
        **state.epochs[-1],
        "training cosine": validate(state, seen)["validation cosine"],
        "mean token": baseline,
    }
    return _finished(folder, state, summary)


def _settled(
    images: Sequence[Unlabelled], teacher: Teacher, asked: Mapping[str, Any], hidden: tuple[int, ...] | None
) -> tuple[Settings, Samples, Samples, Samples]:
    """Settings; training and validation samples; and as many of the training images as are held out, one view each."""
    try:
        training_images, held_images = split(images)
    except ValueError as error:
        raise UserError(str(error)) from None
    if asked.get("limit"):
        kept = {image.id for image in by_digest(training_images)[: asked["limit"]]}
        training_images = [image for image in training_images if image.id in kept]
    probe = Square(teacher.preprocessing)(held_images[0].read())[None].to(teacher.device)
    layer = asked.get("layer", -1)
    with torch.no_grad():
        tokens = teacher.encode_grid(probe, layer)
    config = _sized(sizes_for_grid(teacher, tokens), hidden)
    schedule = schedule_for(config, layer % teacher.layers, asked)
    settings = Settings(
        schedule=schedule,
        teacher=teacher.name,
        teacher_identity=dict(teacher.identity),
        images_sha256=images_digest(images, held_images, config.image_size),
        training_images=len(training_images),
        validation_images=len(held_images),
        width=tokens.shape[-1],
        teacher_grid=tokens.shape[1],
        sizes=sizes_of(config),
    )
    layer, seed = schedule.layer, schedule.seed
    seen = training_images[: len(held_images)]
    return (
        settings,
        Samples(training_images, teacher, layer, config, schedule.views, seed),
        Samples(held_images, teacher, layer, config, 1, seed),
        Samples(seen, teacher, layer, config, 1, seed),
    )


def _sized(config: APMConfig, hidden: tuple[int, ...] | None) -> APMConfig:
    published = config.hidden == APMConfig().hidden
    own = _PRETRAINING if published else tuple(unit * config.position_dim for unit in _UNITS)
    return replace(config, hidden=hidden or own, readout="mean")


def _finished(folder: PictureFolder, state: Trained, summary: Measures) -> str:
    settings, rows = state.settings, state.epochs
    at = [row["epoch"] for row in rows]
    chart = Chart(
        "epoch",
        [
            Curve("validation cosine to the teacher's grid", at, [row["validation cosine"] for row in rows]),
            Curve("the mean token of every location", at, [summary["mean token"]] * len(rows)),
        ],
        [
            Curve("training grid loss / variance", at, [row["training grid loss"] for row in rows]),
            Curve("validation rgb mse", at, [row["validation rgb mse"] for row in rows]),
        ],
    )
    title = (
        f"one APM on {settings.training_images} images: layer {settings.schedule.layer} of "
        f"{titled(settings.teacher, settings.teacher_identity)}, {settings.validation_images} held out"
    )
    folder.files.append(CHECKPOINT_FILE)
    folder.write("epochs.csv", as_csv(rows))
    folder.write("settings.json", f"{json.dumps(settings.model_dump(mode='json'), indent=2)}\n".encode())
    seconds = sum(row["seconds"] for row in rows)
    summary = {**summary, "seconds": seconds}
    folder.write("summary.json", f"{json.dumps(summary, indent=2)}\n".encode())
    folder.write("curve.png", strip(title, None, [], chart))
    step = max(1, -(-len(rows) // _SHOWN))
    shown = [row for row in rows if row["epoch"] in {1, len(rows)} or row["epoch"] % step == 0]
    table = as_table([{**row, "epoch": int(row["epoch"])} for row in shown])
    return (
        f"{title}\n\n{table}\n\nCosine to the teacher's grid at the end: {summary['validation cosine']:.3f} on images "
        f"held out, {summary['training cosine']:.3f} on as many that were trained on. The mean token of every "
        f"location, which never looks at an image: {summary['mean token']:.3f}. {seconds:.0f} s of epochs.\n\n{folder}"
    )
