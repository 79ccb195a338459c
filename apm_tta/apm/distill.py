"""Fit a fresh APM to each image's target."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from apm_tta.apm.config import APMConfig, DistillConfig
from apm_tta.apm.engine import Engine, Goals, is_out_of_memory
from apm_tta.apm.fresh import fresh_parameters, parameter_shapes
from apm_tta.apm.kept_memory import KeptMemory
from apm_tta.apm.memory import images_together

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Distilled:
    """The result of fitting T iterations to each of B images; index k on the iteration axis is *after k steps*.

    Attributes:
        tokens: the fitted tokens, ``(B, F)``; equal to ``trajectory[:, -1]``.
        losses: the weighted sum of the loss terms, ``(B, T + 1)``; the token's mean squared error by default.
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
    grids: Tensor | None = None,
    together: int | None = None,
    memory: int | None = None,
    compile: bool = False,
    kept: KeptMemory | None = None,
) -> Distilled:
    r"""Fit one fresh APM per image: no parameter, optimiser state or schedule outlives its image.

    .. math:: \min_\theta \tfrac1F \lVert t_\theta(\text{image}) - z \rVert^2, \quad \theta_0 \sim N(0, 0.01^2)

    by Adam, z being the teacher's embedding (of unit norm when ``fit.normalize_target``), and by the further terms that
    ``fit`` weights. Images do not affect each other: parameters have a leading image axis, the loss is a sum over
    images, and Adam works element by element.

    Under ``torch.autocast`` the large matrix products are computed in its data type; weights, moments and tokens keep
    the images' type.

    Args:
        images: ``(B, 3, S, S)``, ImageNet-normalised.
        targets: ``(B, F)``; also the columns where ``config.column`` is ``vit``.
        config: sizes of the APMs.
        fit: iterations, learning rate and its schedule, weights of the loss terms; None means the preset ``few``.
        seeds: one per image, which decides its fresh parameters; see ``fresh_parameters``.
        grids: the teacher's patch tokens ``(B, g, g, F)``, needed where ``fit.grid_weight`` is not 0.
        together: images fitted at once; None means as many as fit into ``memory``. Answers do not depend on it. Where
            memory runs out all the same, the number is halved, which the log notes, and the fit continues.
        memory: bytes that the fit may hold; None means half of the device's free memory.
        compile: whether the passes go through ``torch.compile``; where it is not available, the log says so and the
            fit continues without it. As measured on a CPU it gains nothing: the passes are a few large products anyway.
        kept: memory of the last call, which this one uses again.

    Raises:
        ValueError: when the shapes or the number of seeds do not match.
    """
    fit = fit or DistillConfig()
    count, grid, width = len(images), config.grid, config.feature_dim
    if images.shape[1:] != (3, config.image_size, config.image_size):
        expected = f"(B, 3, {config.image_size}, {config.image_size})"
        raise ValueError(f"images have shape {tuple(images.shape)}; expected {expected}")
    if targets.shape != (count, width):
        raise ValueError(f"targets have shape {tuple(targets.shape)}; expected ({count}, {width})")
    if len(seeds) != count:
        raise ValueError(f"{len(seeds)} seeds for {count} images; each image needs its own")
    if fit.grid_weight and (grids is None or grids.shape != (count, grid, grid, width)):
        given = None if grids is None else tuple(grids.shape)
        raise ValueError(f"grids are {given}; grid_weight {fit.grid_weight} needs ({count}, {grid}, {grid}, {width})")
    if together is None:
        together = images_together(config, fit, images.device, memory)
    if together < 1:
        raise ValueError(f"together is {together}; it must be at least 1")
    if not count:
        empty = targets.new_zeros(0, fit.iterations + 1)
        return Distilled(targets, empty, empty[..., None].expand(-1, -1, width))
    scaled_targets = (normalize(targets, dim=-1) if fit.normalize_target else targets).detach().to(images.dtype)
    kept = kept or KeptMemory()
    parts: list[tuple[Tensor, Tensor]] = []
    start = 0
    while start < count:
        part = slice(start, start + together)
        goals = Goals(
            tokens=scaled_targets[part],
            token_weight=fit.token_weight,
            grids=grids[part].flatten(1, 2).to(images.dtype) if grids is not None and fit.grid_weight else None,
            grid_weight=fit.grid_weight,
            rgb_weight=fit.rgb_weight,
            columns=scaled_targets[part] if config.column == "vit" else None,
        )
        try:
            parts.append(_distill_together(images[part], goals, config, seeds[part], fit, compile, kept))
        except RuntimeError as error:
            kept.release()
            if not is_out_of_memory(error) or together == 1:
                raise
            together = (min(together, count - start) + 1) // 2
            _log.warning("out of memory on %s: fitting %d images at once from here on", images.device, together)
        else:
            start += together
    trajectory = torch.cat([tokens for tokens, _ in parts])
    return Distilled(trajectory[:, -1], torch.cat([losses for _, losses in parts]), trajectory)


class Fitting:
    """B fresh APMs that are being fitted to their goals: parameters, gradients and an optimiser that starts empty.

    Args:
        images: ``(B, 3, S, S)``, ImageNet-normalised.
        goals: what they are fitted to.
        config: sizes of the APMs.
        seeds: one per image.
        fit: learning rate and its schedule.
        compile: see ``distill``.
        kept: memory of an earlier fit, which this one uses again.
    """

    def __init__(
        self,
        images: Tensor,
        goals: Goals,
        config: APMConfig,
        seeds: Sequence[int],
        fit: DistillConfig,
        compile: bool = False,
        kept: KeptMemory | None = None,
    ) -> None:
        device = images.device.type
        products = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else images.dtype
        decode_rgb = fit.rgb_weight > 0
        shapes = {
            name: shape
            for name, shape in parameter_shapes(config).items()
            if decode_rgb or not name.startswith("rgb_head")
        }
        memory = (kept or KeptMemory()).take(shapes, len(seeds), images, (config, fit))
        self._parameters = fresh_parameters(config, seeds, images, decode_rgb, memory.parameters)
        self._gradients = memory.gradients
        for name, parameter in self._parameters.items():
            parameter.grad = self._gradients[name]
        self._engine = Engine(images, config, goals, products)
        if compile:
            self._engine.compile()
        self._optimizer = torch.optim.Adam(list(self._parameters.values()), lr=fit.learning_rate, fused=True)
        for name, parameter in self._parameters.items():
            # As the optimiser would begin, but in memory that is there.
            self._optimizer.state[parameter] = {
                "step": parameter.new_zeros((), dtype=torch.float32),
                "exp_avg": memory.first_moments[name],
                "exp_avg_sq": memory.second_moments[name],
            }
        self._fit = fit
        self._steps = 0

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The current parameters by their names in ``APM.named_parameters()``, with a leading image axis."""
        return self._parameters

    def evaluate(self) -> tuple[Tensor, Tensor]:
        """Return the current tokens, ``(B, F)``, and losses, ``(B,)``."""
        return self._engine.forward(self._parameters)

    def features(self) -> Tensor:
        """Return the feature of every location, ``(B, g, g, F)``, at the parameters of the last ``evaluate``."""
        return self._engine.features(self._parameters)

    def step(self) -> tuple[Tensor, Tensor]:
        """Return the current tokens and losses, and take one Adam step."""
        current = self.evaluate()
        self.descend()
        return current

    def descend(self) -> None:
        """Take one Adam step along the gradient at the last ``evaluate``."""
        self._engine.backward(self._gradients)
        for group in self._optimizer.param_groups:
            group["lr"] = self._fit.learning_rate_at(self._steps)
        self._optimizer.step()
        self._steps += 1


def _distill_together(
    images: Tensor,
    goals: Goals,
    config: APMConfig,
    seeds: Sequence[int],
    fit: DistillConfig,
    compile: bool,
    kept: KeptMemory,
) -> tuple[Tensor, Tensor]:
    """Fit B images at once; return their trajectory, ``(B, T + 1, F)``, and losses, ``(B, T + 1)``."""
    fitting = Fitting(images, goals, config, seeds, fit, compile, kept)
    steps = [*(fitting.step() for _ in range(fit.iterations)), fitting.evaluate()]
    return torch.stack([tokens for tokens, _ in steps], 1), torch.stack([losses for _, losses in steps], 1)
