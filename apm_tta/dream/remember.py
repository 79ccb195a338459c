"""``run-bench remember``: from a field and its training images to the memories that it dreams from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from apm_tta.data.unlabelled import Unlabelled
from apm_tta.dream.basis import Basis, principal_basis
from apm_tta.dream.columns import encoded, training_images
from apm_tta.dream.denoiser import Denoiser
from apm_tta.dream.denoiser_training import train_denoiser
from apm_tta.dream.memory import Kind
from apm_tta.dream.memory_file import memory_path, write_memory
from apm_tta.dream.mixture import Mixture, fit_mixture
from apm_tta.dream.one_thread import one_thread
from apm_tta.errors import UserError
from apm_tta.field.checkpoint import Field
from apm_tta.islands.number_tables import as_table
from apm_tta.system.bars import bar
from apm_tta.wording import pluralise

_CHOSEN_ON = 10
"""One training image in so many is kept aside while the size of a memory, or the length of its training, is chosen."""
_FEWEST = 20


def remember(
    checkpoint: Path,
    field: Field,
    images: Sequence[Unlabelled],
    data: str,
    kinds: Sequence[Kind],
    seed: int,
    quiet: bool,
) -> str:
    """Make memories of a field's training images and write them beside its checkpoint; return the text.

    Args:
        checkpoint: of the field.
        field: encodes the images.
        images: all images that its training was given.
        data: what they are named by.
        kinds: which memories.
        seed: of every random draw.
        quiet: whether to show no progress.

    Raises:
        UserError: when the images are others than those of the training, too few, or all alike.
    """
    learned = training_images(field, images, data)
    if len(learned) < _FEWEST:
        raise UserError(f"{data} has {pluralise(len(learned), 'training image')}; a memory takes {_FEWEST} at least")
    columns = encoded(field, learned, lambda parts: bar(parts, hidden=quiet, desc="columns"))
    try:
        basis = principal_basis(columns)
    except ValueError as error:
        raise UserError(f"the columns of {data} cannot be remembered: {error}") from None
    points = basis.points(columns)
    aside = len(points) // _CHOSEN_ON
    texts = [f"{pluralise(len(points), 'column')} of {data} in {basis.width} principal components"]
    with one_thread():
        for kind in kinds:
            make = _density if kind == "density" else _network
            memory, text = make(basis, points[aside:], points[:aside], seed, quiet)
            path = memory_path(checkpoint, kind)
            write_memory(path, memory, field, data)
            texts.append(f"{text}\n\n{path}")
    return "\n\n".join(texts)


def _density(basis: Basis, points: Tensor, held_out: Tensor, seed: int, quiet: bool) -> tuple[Mixture, str]:
    mixture, likelihoods = fit_mixture(basis, points, held_out, seed)
    rows = [{"Gaussians": count, "log-likelihood": value} for count, value in likelihoods.items()]
    chosen = pluralise(len(mixture.weights), "Gaussian")
    return mixture, f"density: {chosen}, likeliest on {len(held_out)} columns kept aside\n\n{as_table(rows)}"


def _network(basis: Basis, points: Tensor, held_out: Tensor, seed: int, quiet: bool) -> tuple[Denoiser, str]:
    network, losses = train_denoiser(
        basis, points, held_out, seed, lambda rounds: bar(rounds, hidden=quiet, desc="network")
    )
    return network, (
        f"network: after {pluralise(losses.index(min(losses)), 'round')} of training its error on {len(held_out)} "
        f"columns kept aside is lowest, {min(losses):.3f} of what the best guess of one Gaussian leaves"
    )
