"""The engine computes the plain APM's function and its gradient, to the limit of the arithmetic."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from processes import run_program

from apm_tta.apm import APM, IMAGENET_MEAN, IMAGENET_STD, APMConfig, DistillConfig, distill
from apm_tta.apm.engine import Engine, Goals
from apm_tta.apm.fresh import fresh_parameters

SMALL = APMConfig(image_size=16, patch_size=4, hidden=(32, 24, 16), feature_dim=24, rgb_hidden=8, init_std=0.3)
ALL_TERMS = {"token_weight": 0.7, "grid_weight": 0.5, "rgb_weight": 0.3}
VARIANTS = {
    "three layers": (SMALL, {}),
    "seven-layer variant": (replace(SMALL, hidden=(32, 32, 32, 24, 16)), {}),
    "one layer": (replace(SMALL, hidden=(12,)), {}),
    "mean readout": (replace(SMALL, readout="mean"), {}),
    "grid of 6": (replace(SMALL, image_size=24, hidden=(20, 8)), {}),
    "four heads": (replace(SMALL, heads=4), {}),
    "teacher's token as column": (replace(SMALL, column="vit"), {}),
    "grid term": (SMALL, {"grid_weight": 2.0}),
    "rgb term": (SMALL, {"rgb_weight": 2.0}),
    "all terms": (SMALL, ALL_TERMS),
    "all terms, mean readout, teacher's token": (replace(SMALL, readout="mean", column="vit"), ALL_TERMS),
}


def normal(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def plain_loss(
    apm: APM, image: torch.Tensor, target: torch.Tensor, grid: torch.Tensor, weights: dict[str, float]
) -> torch.Tensor:
    """Compute the loss of one image as the paper writes it, for autograd on the plain module."""
    output = apm(image[None], target[None] if apm.config.column == "vit" else None)
    mean, std = (torch.tensor(values, dtype=image.dtype)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    pooled = torch.nn.functional.avg_pool2d((image * std + mean)[None], apm.config.patch_size)
    token = (output.token[0] - target).square().mean() * weights.get("token_weight", 1.0)
    features = (output.grid[0] - grid).square().mean() * weights.get("grid_weight", 0.0)
    return token + features + (output.rgb - pooled).square().mean() * weights.get("rgb_weight", 0.0)


@pytest.mark.parametrize(("config", "weights"), VARIANTS.values(), ids=VARIANTS.keys())
def test_losses_and_gradients_equal_autograd_on_the_plain_model(config: APMConfig, weights: dict[str, float]) -> None:
    # Parameters of ordinary size (init_std 0.3), where no gradient hides in the noise of the arithmetic.
    modules = [APM(config, torch.Generator().manual_seed(seed)).double() for seed in range(3)]
    images = normal(3, 3, config.image_size, config.image_size, seed=9)
    targets = normal(3, config.feature_dim, seed=10)
    grids = normal(3, config.grid, config.grid, config.feature_dim, seed=11)
    expected_losses = torch.stack(
        [plain_loss(*each, weights) for each in zip(modules, images, targets, grids, strict=True)]
    )
    expected_losses.sum().backward()

    by_name = [dict(apm.named_parameters()) for apm in modules]
    decoded = bool(weights.get("rgb_weight"))
    names = [name for name in by_name[0] if decoded or not name.startswith("rgb_head")]
    parameters = {name: torch.stack([own[name].detach() for own in by_name]) for name in names}
    gradients = {name: torch.full_like(value, float("nan")) for name, value in parameters.items()}
    goals = Goals(
        targets,
        **weights,
        grids=grids.flatten(1, 2) if weights.get("grid_weight") else None,
        columns=targets if config.column == "vit" else None,
    )
    engine = Engine(images, config, goals)
    used = names if config.readout == "token" else [name for name in names if not name.startswith("global_token")]
    for _ in range(2):  # the second pass writes into the memory of the first
        _, losses = engine.forward(parameters)
        torch.testing.assert_close(losses, expected_losses.detach(), rtol=1e-9, atol=0)
        engine.backward(gradients)
        by_autograd = {name: torch.stack([own[name].grad for own in by_name]) for name in used}  # type: ignore[misc]
        largest = max(value.abs().max() for value in by_autograd.values())
        for name, expected in by_autograd.items():
            # The key's bias cancels in the softmax: its gradient is zero, and autograd's is rounding noise.
            scale = expected.abs().max().clamp_min(1e-6 * largest)
            torch.testing.assert_close(gradients[name] / scale, expected / scale, rtol=0, atol=1e-6, msg=name)


@pytest.mark.vectors("apm_vectors/vector_seed*.npz")
def test_ten_adam_steps_at_published_size_equal_the_published_ones(
    reference: ModuleType, vectors: dict[str, np.ndarray]
) -> None:
    pixels, tokens, losses, seed = (vectors[name] for name in ("image", "token", "loss", "seed"))
    image = torch.from_numpy(pixels).permute(2, 0, 1).float()[None] / 255
    image = (image - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_STD)[:, None, None]
    apm = APM(APMConfig())
    apm.load_reference_state_dict(reference.reference_state_dict(int(seed)))
    parameters = {n: p.detach()[None].clone() for n, p in apm.named_parameters() if not n.startswith("rgb_head")}
    gradients = {name: torch.zeros_like(value) for name, value in parameters.items()}
    for name, value in parameters.items():
        value.grad = gradients[name]
    optimizer = torch.optim.Adam(parameters.values(), lr=1e-4, fused=True)
    target = reference.reference_target(int(seed))
    engine = Engine(image, APMConfig(), Goals(target[None]))
    for step, (token, loss) in enumerate(zip(tokens, losses, strict=True)):
        if step:
            engine.backward(gradients)
            optimizer.step()
        ours, our_loss = engine.forward(parameters)
        np.testing.assert_allclose(ours[0].numpy(), token, rtol=0, atol=1e-5)
        assert our_loss.item() == pytest.approx(float(loss), abs=1e-5)


def test_one_image_and_seven_together_agree() -> None:
    config = APMConfig.for_teacher(32, 4, 64)
    images, targets = normal(7, 3, 32, 32, seed=1, dtype=torch.float32), normal(7, 64, seed=2, dtype=torch.float32)
    seven = distill(images, targets, config, seeds=range(7), together=7)
    alone = distill(images, targets, config, seeds=range(7), together=1)
    torch.testing.assert_close(seven.trajectory, alone.trajectory, rtol=0, atol=1e-6)


def test_bfloat16_products_stay_near_float32_and_leave_weights_and_tokens_in_it() -> None:
    config = APMConfig.for_teacher(32, 4, 64)
    images, targets = normal(4, 3, 32, 32, seed=1, dtype=torch.float32), normal(4, 64, seed=2, dtype=torch.float32)
    fit = DistillConfig(iterations=20)
    exact = distill(images, targets, config, fit, seeds=range(4))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = distill(images, targets, config, fit, seeds=range(4))
    assert rounded.tokens.dtype == torch.float32
    assert not torch.equal(rounded.tokens, exact.tokens)
    assert torch.nn.functional.cosine_similarity(rounded.tokens, exact.tokens).min() > 0.999


def test_every_term_falls_when_it_is_fitted() -> None:
    config = replace(APMConfig.for_teacher(32, 4, 64), init_std=0.05)
    images, targets = normal(3, 3, 32, 32, seed=1, dtype=torch.float32), normal(3, 64, seed=2, dtype=torch.float32)
    grids = normal(3, 8, 8, 64, seed=3, dtype=torch.float32)
    fit = DistillConfig(iterations=60, learning_rate=1e-3, grid_weight=1.0, rgb_weight=1.0)
    fitted = distill(images, targets, config, fit, seeds=range(3), grids=grids, together=2)
    assert (fitted.losses[:, -1] < 0.95 * fitted.losses[:, 0]).all()
    with pytest.raises(ValueError, match=r"grids are None; grid_weight 1.0 needs \(3, 8, 8, 64\)"):
        distill(images, targets, config, fit, seeds=range(3))


COMPILED = """
import logging, sys, torch
from torch._inductor import config as inductor
from apm_tta.apm import APMConfig, DistillConfig, distill

logging.basicConfig(format="%(message)s")
config = APMConfig(image_size=8, patch_size=4, hidden=(8,), feature_dim=8, rgb_hidden=8, readout="mean")
images, targets, fit = torch.ones(2, 3, 8, 8), torch.ones(2, 8), DistillConfig(iterations=2)
plain = distill(images, targets, config, fit, seeds=[1, 2])
for compiler in sys.argv[1:]:
    print(compiler, file=sys.stderr)
    with inductor.patch({"cpp.cxx": (compiler,)}):
        compiled = distill(images, targets, config, fit, seeds=[1, 2], compile=True)
    print(torch.allclose(plain.trajectory, compiled.trajectory, rtol=0, atol=1e-6))
"""


def test_compiling_changes_nothing_and_falls_back_with_one_line(tmp_path: Path) -> None:
    """Without a compiler and, in the same process, with one: most of the time goes into starting Torch's."""
    settings = {
        **{"TORCHINDUCTOR_CACHE_DIR": str(tmp_path), "TORCHINDUCTOR_FX_GRAPH_CACHE": "0"},
        "TORCHINDUCTOR_COMPILE_THREADS": "1",  # no processes that compile, each of which would import torch first
        # Without a program of its own, compiled and run for each, to find out which vector instructions there are.
        "TORCHINDUCTOR_VEC_ISA_OK": "1",
    }
    there = shutil.which("g++")
    compilers = ["/nowhere/c++", *([there] if there else [])]
    process = run_program(COMPILED, compilers, settings)
    assert process.returncode == 0, process.stderr
    assert process.stdout == "True\n" * len(compilers)
    without, _, available = process.stderr.partition(there or "no compiler")
    assert without.count("torch.compile is not available here") == 2, "one line for either pass"
    if there is None:
        pytest.skip("torch.compile needs a C++ compiler on a CPU")
    assert list(tmp_path.rglob("*.so"))
    assert "torch.compile is not available here" not in available


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_agrees_with_the_cpu() -> None:
    config = APMConfig.for_teacher(32, 4, 64)
    images, targets = normal(4, 3, 32, 32, seed=1, dtype=torch.float32), normal(4, 64, seed=2, dtype=torch.float32)
    on_gpu = distill(images.cuda(), targets.cuda(), config, seeds=range(4))
    on_cpu = distill(images, targets, config, seeds=range(4))
    torch.testing.assert_close(on_gpu.trajectory.cpu(), on_cpu.trajectory, rtol=0, atol=1e-4)


def test_gradients_equal_finite_differences() -> None:
    """Check against neither autograd nor the plain model, but by moving every parameter a little."""
    config = APMConfig(image_size=8, patch_size=4, hidden=(6, 5), feature_dim=8, heads=2, rgb_hidden=4, init_std=0.5)
    images, targets = normal(2, 3, 8, 8, seed=1), normal(2, 8, seed=2)
    grids = normal(2, 4, 8, seed=3)
    engine = Engine(images, config, Goals(targets, grids=grids, grid_weight=0.5, rgb_weight=0.5))
    parameters = fresh_parameters(config, [3, 4], images, decode_rgb=True)
    names = list(parameters)

    class Loss(torch.autograd.Function):
        @staticmethod
        def forward(_: object, *values: torch.Tensor) -> torch.Tensor:
            return engine.forward(dict(zip(names, values, strict=True)))[1]

        @staticmethod
        def backward(_: object, *outer: torch.Tensor) -> tuple[torch.Tensor, ...]:
            gradients = {name: torch.zeros_like(value) for name, value in parameters.items()}
            engine.backward(gradients)
            return tuple(value * outer[0].view(-1, *[1] * (value.ndim - 1)) for value in gradients.values())

    inputs = [value.requires_grad_() for value in parameters.values()]
    assert torch.autograd.gradcheck(Loss.apply, inputs, eps=1e-6, atol=1e-7, rtol=1e-6)
