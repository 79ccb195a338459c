"""Fits a fresh APM to each image's target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from apm_tta.apm.config import APMConfig, DistillConfig
from apm_tta.apm.engine import Engine, fresh_parameters


@dataclass(frozen=True)
class Distilled:
    """What fitting T iterations to each of B images gives; index k on the iteration axis is *after k steps*.

    Attributes:
        tokens: the fitted tokens, ``(B, F)``; equal to ``trajectory[:, -1]``.
        losses: mean squared error to the target, ``(B, T + 1)``.
        trajectory: the token at every iteration, ``(B, T + 1, F)``.
    """

    tokens: Tensor
    losses: Tensor
    trajectory: Tensor


def distill(
    images: Tensor,
    targets: Tensor,
    config: APMConfig,
    fit: DistillConfig | None = None,
    *,
    seeds: Sequence[int],
    together: int = 32,
) -> Distilled:
    r"""Fits one fresh APM an image: no parameter, no optimiser state and no schedule outlives its image.

    .. math:: \min_\theta \tfrac1F \lVert t_\theta(\text{image}) - z \rVert^2, \quad \theta_0 \sim N(0, 0.01^2)

    by Adam, z being the teacher's embedding (of unit norm when ``fit.normalize_target``). Images do not see each
    other: parameters have a leading image axis, the loss is a sum over images, and Adam works element by element.

    Under ``torch.autocast`` the large matrix products are computed in its type; weights, moments and tokens stay in the
    images' type.

    Args:
        images: ``(B, 3, S, S)``, ImageNet-normalised.
        targets: ``(B, F)``.
        config: sizes.
        fit: iterations, learning rate and its schedule; None is the preset ``few``.
        seeds: one an image; the fresh parameters are drawn from it, on the CPU, so that devices agree.
        together: images fitted at once. About 16 bytes a parameter and image are held; answers do not depend on it.

    Raises:
        ValueError: when the shapes or the number of seeds do not fit together.
    """
    fit = fit or DistillConfig()
    if targets.shape != (len(images), config.feature_dim):
        raise ValueError(f"targets have shape {tuple(targets.shape)}; expected ({len(images)}, {config.feature_dim})")
    if len(seeds) != len(images):
        raise ValueError(f"{len(seeds)} seeds for {len(images)} images; each image needs its own")
    if together < 1:
        raise ValueError(f"together is {together}; it must be at least 1")
    if not len(images):
        empty = targets.new_zeros(0, fit.iterations + 1)
        return Distilled(targets, empty, empty[..., None].expand(-1, -1, config.feature_dim))
    goals = (normalize(targets, dim=-1) if fit.normalize_target else targets).detach().to(images.dtype)
    parts = [
        _distill_together(images[start:stop], goals[start:stop], config, seeds[start:stop], fit)
        for start, stop in ((start, start + together) for start in range(0, len(images), together))
    ]
    trajectory = torch.cat([tokens for tokens, _ in parts])
    return Distilled(trajectory[:, -1], torch.cat([losses for _, losses in parts]), trajectory)


def _distill_together(
    images: Tensor, goals: Tensor, config: APMConfig, seeds: Sequence[int], fit: DistillConfig
) -> tuple[Tensor, Tensor]:
    """Trajectory ``(B, T + 1, F)`` and losses ``(B, T + 1)`` of B images at once."""
    parameters = fresh_parameters(config, seeds, images.device)
    gradients = {name: torch.zeros_like(value) for name, value in parameters.items()}
    for name, parameter in parameters.items():
        parameter.grad = gradients[name]
    device = images.device.type
    products = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else images.dtype
    engine = Engine(images, config, products)
    optimizer = torch.optim.Adam(list(parameters.values()), lr=fit.learning_rate, fused=True)
    trajectory = []
    for step in range(fit.iterations):
        tokens = engine.forward(parameters)
        trajectory.append(tokens)
        engine.backward((tokens - goals) * (2 / config.feature_dim), gradients)
        for group in optimizer.param_groups:
            group["lr"] = fit.learning_rate_at(step)
        optimizer.step()
    trajectory.append(engine.forward(parameters))
    tokens = torch.stack(trajectory, 1)
    return tokens, (tokens - goals[:, None]).square().mean(-1)
