"""An iteration of the APM against what the device's products and its memory allow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import torch
from torch.nn.functional import normalize

from apm_tta.apm import APMConfig, DistillConfig, distill
from apm_tta.apm.flops import flops_per_iteration
from apm_tta.apm.fresh import parameter_shapes
from apm_tta.apm.memory import images_together
from benchmarks.gpu.rates import copy_rate, product_rate, seconds_of
from benchmarks.gpu.section import Found, Section, Setting

_ADAM_BYTES = 28
"""Of one parameter and step, in float32: weight, gradient and two moments are read, all but the gradient written."""


def measure(setting: Setting) -> Found:
    """Time iterations of one image and of as many as fit, in each precision."""
    sizes, device = setting.sizes, setting.device
    config = APMConfig.for_teacher(32, 4, 64) if sizes.small_apm else APMConfig()
    parameters = sum(shape.numel() for name, shape in parameter_shapes(config).items() if "rgb_head" not in name)
    bandwidth = copy_rate(device, sizes.copied)
    found = Found(("precision", "images", "ms per image", "bound by products", "bound by memory", "share of the bound"))
    fitting = min(sizes.together, images_together(config, DistillConfig(), device))
    for precision in ("float32", "tf32", "bfloat16"):
        if precision == "tf32" and device.type != "cuda":
            continue
        with _precision(precision, device):
            dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
            products = flops_per_iteration(config) / product_rate(device, sizes.product, dtype)
            memory = _ADAM_BYTES * parameters / bandwidth
            for images in dict.fromkeys((1, fitting)):
                seconds = _iteration(setting, config, images, precision) / images
                share = (products + memory) / seconds
                times = (f"{1000 * each:.2f}" for each in (seconds, products, memory))
                found.rows.append((precision, images, *times, f"{share:.0%}"))
    found.remarks.append(
        f"Bounds in ms per image: {flops_per_iteration(config) / 1e9:.2f} GFLOP at the measured rate of the device's "
        f"own product, and {_ADAM_BYTES} bytes of each of {parameters:,} parameters at its measured "
        f"{bandwidth / 1e9:,.0f} GB/s; the share is that of their sum."
    )
    return found


@contextmanager
def _precision(name: str, device: torch.device) -> Iterator[None]:
    """Let products of float32 be made in TF32 where that is the precision."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def _iteration(setting: Setting, config: APMConfig, images: int, precision: str) -> float:
    """Return the seconds of an iteration: the difference of a long and a short fit, whose beginning costs the same."""
    device, few = setting.device, 2
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(images, 3, config.image_size, config.image_size, generator=generator).to(device)
    targets = normalize(torch.randn(images, config.feature_dim, generator=generator), dim=-1).to(device)
    lower = torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()

    def fit(iterations: int) -> float:
        chosen = replace(DistillConfig(), iterations=iterations)
        work = lambda: distill(inputs, targets, config, chosen, seeds=range(images), together=images)  # noqa: E731
        with lower, torch.no_grad():
            return seconds_of(device, work, repeats=3)

    many = few + setting.sizes.iterations
    return max(1e-9, fit(many) - fit(few)) / (many - few)


SECTION = Section(
    "An iteration of the APM",
    "the time of an iteration at published size in each precision, against the device's measured product rate and "
    "copy bandwidth",
    measure,
)
