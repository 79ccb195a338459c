"""Fitting many images at once equals fitting each alone."""

from __future__ import annotations

import pytest
import torch
from plain_apm import plain_apm
from torch.nn.functional import normalize

from apm_tta.apm import PRESETS, APMConfig, DistillConfig, distill

CONFIG = APMConfig(image_size=16, patch_size=4, hidden=(32, 24, 16), feature_dim=24, rgb_hidden=8)
FIT = DistillConfig(iterations=6, learning_rate=3e-3, decay_every=4, decay_factor=0.5)
SEEDS = [11, 12, 13, 14, 15]


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def targets() -> torch.Tensor:
    return 3 * torch.randn(5, 24, generator=torch.Generator().manual_seed(1))


def plain_loop(
    image: torch.Tensor, target: torch.Tensor, fit: DistillConfig, seed: int
) -> tuple[torch.Tensor, list[float]]:
    """Fit one image by the definition: a module, an optimiser, a loop."""
    apm = plain_apm(CONFIG, seed)
    optimizer = torch.optim.Adam(apm.parameters(), lr=fit.learning_rate)
    goal = normalize(target, dim=0) if fit.normalize_target else target
    tokens, losses = [], []
    for step in range(fit.iterations + 1):
        token = apm.token(image[None])[0]
        loss = (token - goal).square().mean()
        tokens.append(token.detach())
        losses.append(loss.item())
        if step < fit.iterations:
            optimizer.param_groups[0]["lr"] = fit.learning_rate * fit.decay_factor ** (step // fit.decay_every)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return torch.stack(tokens), losses


@pytest.mark.parametrize("normalize_target", [True, False])
def test_equals_a_plain_loop_per_image(images: torch.Tensor, targets: torch.Tensor, normalize_target: bool) -> None:
    from dataclasses import replace

    fit = replace(FIT, normalize_target=normalize_target)
    fitted = distill(images, targets, CONFIG, fit, seeds=SEEDS, together=3)
    for index, seed in enumerate(SEEDS):
        tokens, losses = plain_loop(images[index], targets[index], fit, seed)
        torch.testing.assert_close(fitted.trajectory[index], tokens, rtol=0, atol=1e-6)
        torch.testing.assert_close(fitted.losses[index], torch.tensor(losses), rtol=1e-5, atol=1e-6)
    assert torch.equal(fitted.tokens, fitted.trajectory[:, -1])


def test_loss_falls_and_token_turns_towards_the_target(images: torch.Tensor, targets: torch.Tensor) -> None:
    fitted = distill(images, targets, CONFIG, FIT, seeds=SEEDS)
    assert (fitted.losses[:, -1] < fitted.losses[:, 0]).all()
    cosine = torch.nn.functional.cosine_similarity(fitted.trajectory, targets[:, None], dim=-1)
    assert (cosine[:, -1] > cosine[:, 0]).all()


def test_order_and_company_do_not_matter(images: torch.Tensor, targets: torch.Tensor) -> None:
    together = distill(images, targets, CONFIG, FIT, seeds=SEEDS, together=5)
    order = torch.tensor([3, 0, 4, 1, 2])
    shuffled = distill(images[order], targets[order], CONFIG, FIT, seeds=[SEEDS[i] for i in order], together=2)
    torch.testing.assert_close(shuffled.trajectory, together.trajectory[order], rtol=0, atol=1e-6)


def test_a_fit_leaves_nothing_behind(images: torch.Tensor, targets: torch.Tensor) -> None:
    first = distill(images[:1], targets[:1], CONFIG, FIT, seeds=SEEDS[:1])
    distill(images[1:], targets[1:], CONFIG, FIT, seeds=SEEDS[1:])
    again = distill(images[:1], targets[:1], CONFIG, FIT, seeds=SEEDS[:1])
    assert torch.equal(first.trajectory, again.trajectory)


def test_works_where_gradients_are_disabled(images: torch.Tensor, targets: torch.Tensor) -> None:
    with torch.no_grad():
        fitted = distill(images, targets, CONFIG, FIT, seeds=SEEDS)
    assert not fitted.tokens.requires_grad
    assert (fitted.losses[:, -1] < fitted.losses[:, 0]).all()


def test_no_iterations_and_no_images_have_an_answer(images: torch.Tensor, targets: torch.Tensor) -> None:
    none = distill(images, targets, CONFIG, DistillConfig(iterations=0), seeds=SEEDS)
    assert none.trajectory.shape == (5, 1, 24)
    empty = distill(images[:0], targets[:0], CONFIG, FIT, seeds=[])
    assert empty.tokens.shape == (0, 24)
    assert empty.losses.shape == (0, 7)
    assert empty.trajectory.shape == (0, 7, 24)


def test_arguments_that_do_not_fit_together_are_refused(images: torch.Tensor, targets: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"expected \(5, 24\)"):
        distill(images, targets[:, :8], CONFIG, FIT, seeds=SEEDS)
    with pytest.raises(ValueError, match="each image needs its own"):
        distill(images, targets, CONFIG, FIT, seeds=SEEDS[:2])
    with pytest.raises(ValueError, match="together is 0"):
        distill(images, targets, CONFIG, FIT, seeds=SEEDS, together=0)


def test_presets_and_schedule() -> None:
    assert (PRESETS["few"].iterations, PRESETS["few"].normalize_target) == (20, True)
    released = PRESETS["released"]
    assert (released.iterations, released.normalize_target) == (1200, False)
    rates = [released.learning_rate_at(step) for step in (0, 199, 200, 400, 1199)]
    assert rates == pytest.approx([1e-4, 1e-4, 1e-5, 1e-6, 1e-9])
    assert PRESETS["few"].learning_rate_at(19) == 1e-4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"iterations": -1}, "at least 0"),
        ({"learning_rate": 0.0}, "must be positive"),
        ({"decay_every": -1}, "at least 0"),
        ({"decay_factor": 0.0}, "must be positive"),
    ],
)
def test_fits_that_mean_nothing_are_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DistillConfig(**changes)  # type: ignore[arg-type]
