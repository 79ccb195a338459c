"""The number of images that are fitted at once, from a memory budget."""

from __future__ import annotations

import math
import os
import re
from contextlib import suppress
from pathlib import Path

import torch

from apm_tta.apm.config import APMConfig, DistillConfig
from apm_tta.apm.fresh import parameter_shapes

# Weights, gradients and Adam's two moments, float32.
BYTES_PER_PARAMETER = 16
_SHARE_OF_FREE = 0.5
_UNKNOWN_FREE = 2 * 2**30
_AVAILABLE = re.compile(r"^MemAvailable:\s+(\d+) kB$", re.MULTILINE)
# On a CPU more gain nothing: at embedded size, 32, 64 and 128 at once took the same time per image.
_CPU_LIMIT = 32


def bytes_per_image(config: APMConfig, fit: DistillConfig) -> int:
    """Return what fitting one image holds in float32: parameters four times over, activations and their gradients."""
    shapes = parameter_shapes(config)
    parameters = sum(shape.numel() for name, shape in shapes.items() if fit.rgb_weight or not name.startswith("rgb_"))
    locations = config.grid**2
    widths = 3 * sum(config.hidden) + 4 * config.heads
    widths += 3 * config.feature_dim if fit.grid_weight or fit.rgb_weight else 0
    widths += 6 * config.rgb_hidden if fit.rgb_weight else 0
    patches = 3 * config.image_size**2
    return BYTES_PER_PARAMETER * parameters + 4 * (locations * widths + patches)


def free_memory(device: torch.device) -> int:
    """Return the free memory of ``device`` in bytes; a cautious guess where the system does not report it."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    with suppress(OSError):  # on Linux: with what it gives back when asked, such as files that it has kept in memory
        if available := _AVAILABLE.search(Path("/proc/meminfo").read_text(encoding="ascii")):
            return 1024 * int(available[1])
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return _UNKNOWN_FREE


def images_together(config: APMConfig, fit: DistillConfig, device: torch.device, budget: int | None = None) -> int:
    """Return how many images fit into ``budget`` bytes, at least 1; None means half of ``device``'s free memory."""
    allowed = _SHARE_OF_FREE * free_memory(device) if budget is None else budget
    fitting = max(1, math.floor(allowed / bytes_per_image(config, fit)))
    return min(fitting, _CPU_LIMIT) if device.type == "cpu" else fitting
