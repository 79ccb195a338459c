"""``run-bench train-field``: from a folder of images and a teacher to a checkpoint, its curve, and a text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from apm_tta.apm import APMConfig
from apm_tta.data.unlabelled import Unlabelled, by_digest
from apm_tta.errors import UserError
from apm_tta.field.between import finest_factor
from apm_tta.field.checkpoint import CHECKPOINT_FILE, TrainingState, refuse_other_training
from apm_tta.field.checkpoint_file import Measures, read_settings
from apm_tta.field.fastest_precision import described, fastest_precision
from apm_tta.field.samples import Samples, images_digest, split
from apm_tta.field.settings import Settings, schedule_for, sizes_of
from apm_tta.field.training import fresh_training, mean_token_cosine, train, validate
from apm_tta.islands.gallery import teacher_title
from apm_tta.islands.number_tables import as_csv, as_table
from apm_tta.islands.picture_folder import PictureFolder
from apm_tta.islands.strip import Chart, Curve, draw_strip
from apm_tta.islands.targets import sizes_for_grid
from apm_tta.system.bars import bar
from apm_tta.system.files import unwritable
from apm_tta.system.stop_signals import stop_says, stoppable
from apm_tta.system.writer_lock import only_writer
from apm_tta.teachers import Teacher
from apm_tta.teachers.square import Square
from apm_tta.wording import pluralise, resume

# The pretraining variant of the public code, for teachers whose APM has the published sizes.
_PRETRAINING = (4096, 4096, 4096, 2048, 1024)
# In units of the column's width: a small field holds many images, but a fresh APM only one.
_UNITS = (16, 8, 8)
AUTO = "auto"
_SHOWN = 8  # rows of the history that are printed


def _silent(_text: str) -> None:
    """Ignore a message."""


def train_field(
    out: Path | None,
    images: Sequence[Unlabelled],
    teacher: Teacher,
    chosen: Mapping[str, Any],
    hidden: tuple[int, ...] | None = None,
    quiet: bool = False,
    notify: Callable[[str], None] = _silent,
) -> str:
    """Train a field, or resume a training that was stopped; return the text.

    Args:
        out: folder of the checkpoint; None for a new one below the current folder.
        images: all images, of which one in ten is held out.
        teacher: provides the targets.
        chosen: fields of ``Schedule``, its layer counted from 0 or from the end; the rest follows the APM's sizes.
            ``precision`` may be ``auto``, and is where it is absent: that of the training in the folder, else the one
            that is faster on the teacher's device. ``fine`` is whether the field is trained between its locations.
        hidden: widths of the MLP; None for the pretraining variant's, or a small teacher's.
        quiet: whether to show no progress.
        notify: called with messages that the user should see before or during the training.

    Raises:
        UserError: when an image cannot be read, the teacher has no tokens of that layer, or the folder holds another
            training; when it is stopped, stating how to resume it.
    """
    folder = PictureFolder(out, "field")
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder.path, error) from None
    advice = f"completed epochs are kept; {resume(folder.path)}"
    with stoppable(), stop_says(advice), only_writer(folder.path) as doubts:
        for doubt in doubts:
            notify(doubt)
        return _train(folder, images, teacher, chosen, hidden, quiet, notify)


def _train(
    folder: PictureFolder,
    images: Sequence[Unlabelled],
    teacher: Teacher,
    chosen: Mapping[str, Any],
    hidden: tuple[int, ...] | None,
    quiet: bool,
    notify: Callable[[str], None],
) -> str:
    path = folder.path / CHECKPOINT_FILE
    precision, why = _resolved(chosen.get("precision", AUTO), path, teacher)
    settings, training, validation, training_subset = prepare(
        images, teacher, {**chosen, "precision": precision}, hidden
    )
    if why:
        notify(why)
    if path.exists():
        refuse_other_training(path, settings)

    def shown(label: str) -> Callable[[Sequence[Sequence[int]]], Iterable[Sequence[int]]]:
        return lambda batches: bar(batches, hidden=quiet, desc=label)

    kept = training.keep(shown("teacher: training images")) and validation.keep(shown("teacher: validation images"))
    if not kept:
        notify("the images and their tokens do not fit into half of the free memory: each epoch computes them anew")
    schedule = settings.schedule
    state = fresh_training(settings, training, validation.ids, teacher.device)
    if path.exists():
        state.resume(path)
        notify(f"{path} has {len(state.epochs)} of {schedule.epochs} epochs; resuming")
    baseline = mean_token_cosine(training, validation, settings.width)

    def report(row: Measures) -> None:
        if not quiet:
            notify(
                f"epoch {row['epoch']}/{schedule.epochs}: validation cosine {row['validation cosine']:.4f}, "
                f"mse {row['validation mse']:.3f}, rgb mse {row['validation rgb mse']:.4f}, {row['seconds']:.1f} s"
            )

    train(folder.path, state, training, validation, shown("training"), report)
    summary = {
        **state.epochs[-1],
        "training cosine": validate(state, training_subset)["validation cosine"],
        "mean token": baseline,
    }
    return _write_results(folder, state, summary)


def _resolved(precision: str, path: Path, teacher: Teacher) -> tuple[str, str]:
    """Return the precision that ``auto`` stands for, and why, where it was measured.

    A training that is resumed keeps its own on any machine.
    """
    if precision != AUTO:
        return precision, ""
    if path.exists():
        return read_settings(path).schedule.precision, ""
    faster, seconds = fastest_precision(teacher.device)
    return faster, described(faster, seconds)


def prepare(
    images: Sequence[Unlabelled], teacher: Teacher, chosen: Mapping[str, Any], hidden: tuple[int, ...] | None
) -> tuple[Settings, Samples, Samples, Samples]:
    """Return settings, training samples, validation samples, and samples of some training images.

    The latter are one view each of as many training images as are held out.
    """
    try:
        training_images, held_out = split(images)
    except ValueError as error:
        raise UserError(str(error)) from None
    if chosen.get("limit"):
        kept = {image.id for image in by_digest(training_images)[: chosen["limit"]]}
        training_images = [image for image in training_images if image.id in kept]
    probe = Square(teacher.preprocessing)(held_out[0].read())[None].to(teacher.device)
    layer = chosen.get("layer", -1)
    with torch.no_grad():
        tokens = teacher.encode_grid(probe, layer)
    factor = finest_factor(teacher, tokens.shape[1]) if chosen.get("fine") else 1
    config = _with_hidden(sizes_for_grid(teacher, tokens), hidden)
    if factor > 1:
        config = replace(config, readout="token")
        if teacher.feature_dim > config.feature_dim:
            raise UserError(
                f"--fine trains a token of {config.feature_dim} numbers, as wide as the teacher's tokens, and the "
                f"embedding of teacher {teacher.name} has {teacher.feature_dim}",
                exit_code=2,
            )
    schedule = schedule_for(config, layer % teacher.layers, {**chosen, "fine": factor})
    settings = Settings(
        schedule=schedule,
        teacher=teacher.name,
        teacher_identity=dict(teacher.identity),
        images_sha256=images_digest(images, held_out, config.image_size),
        training_images=len(training_images),
        validation_images=len(held_out),
        width=tokens.shape[-1],
        teacher_grid=tokens.shape[1],
        sizes=sizes_of(config),
        reading=images[0].reading,
    )
    layer, seed = schedule.layer, schedule.seed
    training_subset = training_images[: len(held_out)]
    return (
        settings,
        Samples(training_images, teacher, layer, config, schedule.views, seed, factor),
        Samples(held_out, teacher, layer, config, 1, seed, factor),
        Samples(training_subset, teacher, layer, config, 1, seed, factor),
    )


def _with_hidden(config: APMConfig, hidden: tuple[int, ...] | None) -> APMConfig:
    published = config.hidden == APMConfig().hidden
    own = _PRETRAINING if published else tuple(unit * config.position_dim for unit in _UNITS)
    return replace(config, hidden=hidden or own, readout="mean")


def _token_note(summary: Measures) -> str:
    cosine = summary.get("validation token cosine")
    return (
        "" if cosine is None else f" Cosine of the token to the teacher's embedding: {cosine:.3f} on held-out images."
    )


def _write_results(folder: PictureFolder, state: TrainingState, summary: Measures) -> str:
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
        f"one APM on {pluralise(settings.training_images, 'image')}: layer {settings.schedule.layer} of "
        f"{teacher_title(settings.teacher, settings.teacher_identity)}, {settings.validation_images} held out"
    )
    if settings.schedule.fine > 1:
        side = settings.config.grid * settings.schedule.fine
        title += f"; targets anywhere, of {side} x {side} tokens"
    folder.files.append(CHECKPOINT_FILE)
    folder.write("epochs.csv", as_csv(rows))
    folder.write("settings.json", f"{json.dumps(settings.model_dump(mode='json'), indent=2)}\n".encode())
    seconds = sum(row["seconds"] for row in rows)
    summary = {**summary, "seconds": seconds}
    folder.write("summary.json", f"{json.dumps(summary, indent=2)}\n".encode())
    folder.write("curve.png", draw_strip(title, None, [], chart))
    step = max(1, -(-len(rows) // _SHOWN))
    shown = [row for row in rows if row["epoch"] in {1, len(rows)} or row["epoch"] % step == 0]
    table = as_table([{**row, "epoch": int(row["epoch"])} for row in shown])
    return (
        f"{title}\n\n{table}\n\nFinal cosine to the teacher's grid: {summary['validation cosine']:.3f} on held-out "
        f"images, {summary['training cosine']:.3f} on as many training images. The mean token of every location, which "
        f"ignores the image: {summary['mean token']:.3f}.{_token_note(summary)} {seconds:.0f} s of epochs.\n\n{folder}"
    )
