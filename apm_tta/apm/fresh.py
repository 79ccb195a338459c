"""The parameters that a fresh APM starts from: slices of one long row of normals, copied instead of drawn.

Drawing the 22.8 million normals of an APM of published size takes longer than fitting it on a GPU, and a GPU's own
generator draws others than a CPU's. Here a row of normals is drawn once per process, on the CPU, and moved to the
device; an image takes the slice at an offset that its seed decides. Within an APM every parameter is another element of
the row: they are independent draws from N(0, ``init_std`` squared), the same bits on every device. Two images share
elements, but at other places: what is weight k of one is weight k + d of the other, d being the distance of their
offsets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, lru_cache

import numpy as np
import torch
from torch import Tensor

from apm_tta.apm.config import APMConfig
from apm_tta.apm.model import APM

OFFSETS = 1 << 20
"""So many slices there are: two of a set's images rarely get the same."""

_SEED = 20_410_535
"""Of the row: a constant, whatever a run's seed is, which decides the offsets."""
_ROWS_KEPT = 2


@cache
def parameter_shapes(config: APMConfig) -> dict[str, torch.Size]:
    """Return names and shapes of an APM's parameters, in the order in which they lie in the row."""
    return {name: parameter.shape for name, parameter in APM(config).named_parameters()}


def fresh_parameters(
    config: APMConfig,
    seeds: Sequence[int],
    like: Tensor,
    decode_rgb: bool = False,
    into: dict[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Return the parameters of a fresh APM for every seed, by name, with a leading image axis.

    Args:
        config: sizes of the APMs.
        seeds: one per image; its remainder by ``OFFSETS`` is where its slice begins.
        like: a tensor with the device and the type of the result.
        decode_rgb: whether the RGB head is included; the other parameters are the same without it.
        into: tensors of these names and shapes that are filled, where there are some already.

    Example:
        >>> import torch
        >>> from apm_tta.apm import APMConfig
        >>> small = APMConfig(image_size=16, patch_size=4, hidden=(32, 16), feature_dim=16)
        >>> fresh_parameters(small, [3, 4], torch.empty(0))["mlp.0.weight"].shape
        torch.Size([2, 32, 32])
    """
    row = row_on(config, like.device)
    parameters: dict[str, Tensor] = {} if into is None else into
    start = 0
    for name, shape in parameter_shapes(config).items():
        if decode_rgb or not name.startswith("rgb_head"):
            if into is None:
                parameters[name] = like.new_empty((len(seeds), *shape))
            for index, seed in enumerate(seeds):
                first = seed % OFFSETS + start
                parameters[name][index].view(-1).copy_(row[first : first + math.prod(shape)])
        start += math.prod(shape)
    return parameters


@lru_cache(maxsize=_ROWS_KEPT)
def _row(length: int, init_std: float) -> Tensor:
    """Draw the row ``(length,)``; NumPy's draws are the same on every processor."""
    generator = np.random.Generator(np.random.PCG64(_SEED))
    return torch.from_numpy(generator.standard_normal(length, np.float32)).mul_(init_std)


@lru_cache(maxsize=_ROWS_KEPT)
def row_on(config: APMConfig, device: torch.device) -> Tensor:
    """Return the row of an APM's normals on a device, to which it is copied once."""
    total = sum(shape.numel() for shape in parameter_shapes(config).values())
    return _row(total + OFFSETS, config.init_std).to(device)
