"""Train one APM on many images: its features against a teacher's tokens, its colours against the images'."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from apm_tta.apm import APM, APMConfig
from apm_tta.field.checkpoint import CHECKPOINT_FILE, TrainingState
from apm_tta.field.checkpoint_file import Measures
from apm_tta.field.samples import Progress, Samples
from apm_tta.field.settings import Schedule, Settings

_WARM_UP = 0.02
_VALIDATED_AT_ONCE = 64
_MEASURED = 2048  # samples, since all of a large set would take an epoch
_TOKEN_WEIGHT = 0.1  # of the token's squared distance to a unit embedding, beside the grid's loss over its variance


def fresh_training(
    settings: Settings, training: Samples, held_out: Sequence[str], device: torch.device
) -> TrainingState:
    """Return the state of an untrained APM, with the scale of its targets from the training images alone."""
    schedule = settings.schedule
    apm = APM(settings.config)
    apm.initialise(torch.Generator().manual_seed(schedule.seed))
    apm.to(device)
    trained = [
        parameter
        for name, parameter in apm.named_parameters()
        if (schedule.fine > 1 or not name.startswith("global_token"))
        and (schedule.rgb_weight or not name.startswith("rgb_head"))
    ]
    optimizer = torch.optim.Adam(trained, lr=schedule.learning_rate, fused=True)
    mean, std = target_scale(training)
    return TrainingState(apm, optimizer, mean.to(device), std.to(device), settings, held_out, [])


def target_scale(samples: Samples) -> tuple[Tensor, Tensor]:
    """Compute mean and standard deviation of every channel of the targets, ``(F,)`` each, over at most 2048 samples.

    A channel that never changes, such as one that only pads the APM's width, gets a standard deviation of 1.
    """
    count, total, squares = 0, torch.zeros(()), torch.zeros(())
    for batch in _in_order(samples, _MEASURED):
        targets = samples.get(batch).tokens.double().flatten(0, 1)
        count += len(targets)
        total, squares = total + targets.sum(0), squares + targets.square().sum(0)
    mean = total / count
    std = (squares / count - mean.square()).clamp(min=0).sqrt()
    return mean.float(), torch.where(std > 1e-6, std, 1.0).float()


def train(
    folder: Path,
    state: TrainingState,
    training: Samples,
    validation: Samples,
    progress: Progress,
    report: Callable[[Measures], None],
) -> None:
    """Train from the epoch that ``state`` has reached to the last; the checkpoint is written after every epoch.

    The order of the samples and the locations depend on the seed and the epoch alone, so that a training that was
    killed and resumed ends with the same weights as one that was not.

    Args:
        folder: where the checkpoint is written.
        state: changed in place.
        training: samples to learn from.
        validation: samples to measure on, one view each.
        progress: wraps the batches of an epoch.
        report: called with the row of every completed epoch.

    Raises:
        UserError: when an image cannot be read, or the checkpoint cannot be written.
    """
    schedule = state.settings.schedule
    for epoch in range(len(state.epochs), schedule.epochs):
        started = time.perf_counter()
        losses = _epoch(state, training, epoch, progress)
        row: Measures = {"epoch": epoch + 1, **losses, **validate(state, validation)}
        row["seconds"] = time.perf_counter() - started
        state.epochs.append(row)
        state.write(folder / CHECKPOINT_FILE)
        report(row)


def _epoch(state: TrainingState, samples: Samples, epoch: int, progress: Progress) -> Measures:
    """Run one epoch; return the mean losses of its steps."""
    schedule, config, device = state.settings.schedule, state.settings.config, state.mean.device
    generator = torch.Generator().manual_seed((schedule.seed << 20) + epoch)
    batches = [part.tolist() for part in torch.randperm(len(samples), generator=generator).split(schedule.batch_size)]
    variance = state.std[: state.settings.width].square().mean()
    sums = torch.zeros(3, device=device)
    state.apm.train()
    for step, batch in enumerate(progress(batches)):
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate_at(schedule, epoch * len(batches) + step, schedule.epochs * len(batches))
        sampled = samples.get(batch)
        images = samples.normalized(sampled.pixels.to(device))
        chosen = draw_locations(schedule, config, generator)
        targets, locations = sampled.tokens[:, chosen].to(device), sampled.locations(chosen).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=schedule.precision == "bfloat16"):
            column = state.apm.column(images)
            standardised = state.apm.query(column, locations)
            colours = state.apm.colours(column, standardised, locations) if schedule.rgb_weight else None
            features = standardised.float() * state.std + state.mean
            # The token reads features, not standardised ones: then nothing of it changes when the scale is folded.
            tokens = state.apm.readout(features, locations) if schedule.fine > 1 else None
        # Dividing by the variance makes the colours' weight mean the same for every teacher and layer.
        grid = (features - targets)[..., : state.settings.width].square().mean() / variance
        rgb, token = torch.zeros((), device=device), torch.zeros((), device=device)
        if colours is not None:
            rgb = (colours.float() - sampled.colours[:, chosen].to(device)).square().mean()
        if tokens is not None:
            token = (tokens.float() - sampled.embeddings.to(device)).square().sum(-1).mean()
        state.optimizer.zero_grad()
        (grid + schedule.rgb_weight * rgb + _TOKEN_WEIGHT * token).backward()
        state.optimizer.step()
        sums += torch.stack([grid.detach(), rgb.detach(), token.detach()])
    grid_loss, rgb_loss, token_loss = (sums / len(batches)).tolist()
    losses = {"training grid loss": grid_loss, "training rgb loss": rgb_loss}
    return losses | ({"training token loss": token_loss} if schedule.fine > 1 else {})


def draw_locations(schedule: Schedule, config: APMConfig, generator: torch.Generator) -> Tensor:
    """Draw the locations of one step, ``(L,)``."""
    order = torch.randperm(config.grid**2, generator=generator)
    return order[: schedule.locations]


def learning_rate_at(schedule: Schedule, step: int, steps: int) -> float:
    """Return the learning rate of one of all ``steps``, counted from 0."""
    warm_up = max(1, round(_WARM_UP * steps))
    if step < warm_up:
        return schedule.learning_rate * (step + 1) / warm_up
    return schedule.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


@torch.no_grad()
def validate(state: TrainingState, samples: Samples) -> Measures:
    """Measure cosine and mean squared error to the teacher's tokens, and the colours' mean squared error.

    All locations count, or places of a fine field, of which the token's cosine to the teacher's embedding is measured
    as well; everything is in float32.
    """
    config, width, device = state.settings.config, state.settings.width, state.mean.device
    everywhere = torch.arange(config.grid**2)
    state.apm.eval()
    sums, count = torch.zeros(4, dtype=torch.float64), 0
    for batch in _in_order(samples):
        sampled = samples.get(batch)
        images, locations = samples.normalized(sampled.pixels.to(device)), sampled.locations(everywhere).to(device)
        column = state.apm.column(images)
        standardised = state.apm.query(column, locations)
        features = standardised * state.std + state.mean
        targets = sampled.tokens[..., :width].to(device)
        colours = state.apm.colours(column, standardised, locations)
        token = torch.zeros((), device=device)
        if state.settings.schedule.fine > 1:
            tokens = state.apm.readout(features, locations)
            token = cosine_similarity(tokens, sampled.embeddings.to(device), dim=-1).mean()
        measures = (
            cosine_similarity(features[..., :width], targets, dim=-1).mean(),
            (features[..., :width] - targets).square().mean(),
            (colours - sampled.colours.to(device)).square().mean(),
            token,
        )
        sums += len(batch) * torch.stack(measures).double().cpu()
        count += len(batch)
    cosine, error, rgb, token_cosine = (sums / count).tolist()
    found = {"validation cosine": cosine, "validation mse": error, "validation rgb mse": rgb}
    return found | ({"validation token cosine": token_cosine} if state.settings.schedule.fine > 1 else {})


@torch.no_grad()
def mean_token_cosine(training: Samples, validation: Samples, width: int) -> float:
    """Return the cosine that an answer reaches which ignores the image.

    It compares every location's mean token, over at most 2048 training samples, with the validation images' tokens;
    at a place between locations that of the nearest.
    """
    total: Tensor | None = None
    for batch in _in_order(training, _MEASURED):
        sampled = training.get(batch)
        tokens = sampled.tokens[..., :width]
        total = tokens.new_zeros(tokens.shape[1:]) if total is None else total
        total.index_add_(0, sampled.nearest().flatten(), tokens.flatten(0, 1))
    assert total is not None
    cosines = []
    for batch in _in_order(validation):
        sampled = validation.get(batch)
        cosines.append(cosine_similarity(total[sampled.nearest()], sampled.tokens[..., :width], dim=-1).mean(1))
    return float(torch.cat(cosines).mean())


def _in_order(samples: Samples, most: int | None = None) -> Sequence[range]:
    """Return all samples in batches, or evenly spaced ones, at most ``most``."""
    chosen = range(0, len(samples), 1 if most is None else max(1, -(-len(samples) // most)))
    return [chosen[start : start + _VALIDATED_AT_ONCE] for start in range(0, len(chosen), _VALIDATED_AT_ONCE)]
