"""The APM is the published architecture."""

from __future__ import annotations

import math
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from apm_tta.apm import APM, IMAGENET_MEAN, IMAGENET_STD, APMConfig
from apm_tta.apm.positions import sine_cosine_code

SMALL = APMConfig(image_size=16, patch_size=4, hidden=(32, 24, 16), feature_dim=24, rgb_hidden=8)


@pytest.fixture(scope="module")
def vector_image(vectors: dict[str, np.ndarray]) -> torch.Tensor:
    pixels = torch.from_numpy(vectors["image"]).permute(2, 0, 1).float() / 255
    mean, std = torch.tensor(IMAGENET_MEAN)[:, None, None], torch.tensor(IMAGENET_STD)[:, None, None]
    return ((pixels - mean) / std)[None]


@pytest.mark.vectors("apm_vectors/vector_seed*.npz")
def test_forward_pass_and_first_adam_steps_equal_the_published_ones(
    reference: ModuleType, vectors: dict[str, np.ndarray], vector_image: torch.Tensor
) -> None:
    """Three steps; ``test_apm_engine`` takes all ten, as a run does."""
    apm = APM(APMConfig())
    seed = int(vectors["seed"])
    apm.load_reference_state_dict(reference.reference_state_dict(seed))
    target = reference.reference_target(seed)
    with torch.no_grad():
        output = apm(vector_image)
    np.testing.assert_allclose(output.grid[0, [0, 31]].numpy(), vectors["grid_rows_0_and_31"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(output.rgb[0].numpy(), vectors["rgb"], rtol=0, atol=1e-6)

    optimizer = torch.optim.Adam(apm.parameters(), lr=1e-4)
    assert len(vectors["token"]) == 11
    our_loss = None
    for token, loss in zip(vectors["token"][:4], vectors["loss"][:4], strict=True):
        if our_loss is not None:
            optimizer.zero_grad()
            our_loss.backward()
            optimizer.step()
        ours = apm.token(vector_image)[0]
        our_loss = (ours - target).square().mean()
        np.testing.assert_allclose(ours.detach().numpy(), token, rtol=0, atol=1e-5)
        assert our_loss.item() == pytest.approx(float(loss), abs=1e-5)


def test_a_released_checkpoint_with_other_tensors_or_sizes_is_refused_by_name(reference: ModuleType) -> None:
    state = reference.reference_state_dict(1)
    apm = APM(APMConfig())
    with pytest.raises(ValueError, match=r"missing \['fc5.bias'\]"):
        apm.load_reference_state_dict({name: value for name, value in state.items() if name != "fc5.bias"})
    with pytest.raises(ValueError, match=r"surplus \['fc6.bias'\]"):
        apm.load_reference_state_dict({**state, "fc6.bias": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"feature_head.bias is \(8,\), not \(768,\)"):
        apm.load_reference_state_dict({**state, "feat_proj_head.bias": torch.zeros(8)})


def test_the_seven_layer_variant_takes_the_released_naming() -> None:
    config = APMConfig(image_size=16, patch_size=4, hidden=(32, 32, 32, 24, 16), feature_dim=24, rgb_hidden=8)
    source, copy = APM(config, torch.Generator().manual_seed(1)), APM(config)
    own = source.state_dict()
    names = {"mlp.0": "fc1", "mlp.1": "fc2", "mlp.2": "fc3", "mlp.3": "fc4", "mlp.4": "fc5"}
    layers = {**names, "convolution": "conv1", "feature_head": "feat_proj_head", "rgb_head.0": "rgb_head_1"}
    layers |= {"rgb_head.1": "rgb_head_2", "rgb_head.2": "rgb_head_3"}
    layers |= {"global_token.project_output": "little_self_attention.out_proj"}
    released = {f"{new}.{kind}": own[f"{old}.{kind}"] for old, new in layers.items() for kind in ("weight", "bias")}
    released["little_query"] = own["global_token.query"]
    for kind in ("weight", "bias"):
        blocks = [own[f"global_token.project_{part}.{kind}"] for part in ("query", "key", "value")]
        released[f"little_self_attention.in_proj_{kind}"] = torch.cat(blocks)
    copy.load_reference_state_dict(released)
    assert all(torch.equal(own[name], value) for name, value in copy.state_dict().items())


def test_output_shapes_and_token_only_pass_agree() -> None:
    apm = APM(SMALL, torch.Generator().manual_seed(0))
    images = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    output = apm(images)
    assert output.token.shape == (3, 24)
    assert output.grid.shape == (3, 4, 4, 24)
    assert output.rgb.shape == (3, 3, 4, 4)
    assert torch.equal(apm.token(images), output.token)


def test_mean_readout_is_the_average_feature() -> None:
    from dataclasses import replace

    apm = APM(replace(SMALL, readout="mean"), torch.Generator().manual_seed(0))
    output = apm(torch.ones(2, 3, 16, 16))
    torch.testing.assert_close(output.token, output.grid.flatten(1, 2).mean(1))


def test_attention_equals_torch_multihead_attention() -> None:
    """Derive the global token independently."""
    apm = APM(SMALL, torch.Generator().manual_seed(3))
    pool = apm.global_token
    attention = torch.nn.MultiheadAttention(24, 8, batch_first=True)
    blocks = (pool.project_query, pool.project_key, pool.project_value)
    with torch.no_grad():
        attention.in_proj_weight.copy_(torch.cat([block.weight for block in blocks]))
        attention.in_proj_bias.copy_(torch.cat([block.bias for block in blocks]))
        attention.out_proj.weight.copy_(pool.project_output.weight)
        attention.out_proj.bias.copy_(pool.project_output.bias)
        located = torch.randn(2, 16, 24, generator=torch.Generator().manual_seed(4))
        expected = attention(pool.query.expand(2, 1, -1), located, located)[0][:, 0]
    torch.testing.assert_close(pool(located), expected)


def test_fresh_parameters_are_normal_with_standard_deviation_one_hundredth_and_follow_the_seed() -> None:
    config = APMConfig.for_teacher(32, 4, 64)
    first, again, other = (APM(config, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    values = torch.cat([parameter.detach().flatten() for parameter in first.parameters()])
    assert len(values) > 100_000
    assert values.mean().abs() < 1e-4
    assert values.std().item() == pytest.approx(0.01, rel=0.01)
    pairs = list(zip(first.parameters(), again.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(one, two) for one, two, _ in pairs)
    assert not any(torch.equal(one, three) for one, _, three in pairs)


@given(grid=st.integers(1, 6), quarter=st.integers(1, 6))
def test_position_code_is_its_equation(grid: int, quarter: int) -> None:
    width = 4 * quarter
    code = sine_cosine_code(grid, width)
    assert code.shape == (grid, grid, width)
    for row in range(grid):
        for column in range(grid):
            for index in range(width):
                within = index % (width // 2)
                angle = (column if index < width // 2 else row) * math.exp(
                    -2 * (within // 2) * math.log(10000) / (width / 2)
                )
                expected = math.cos(angle) if within % 2 else math.sin(angle)
                assert code[row, column, index].item() == pytest.approx(expected, abs=1e-5)


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 3, 8, 8\); this APM takes \(B, 3, 16, 16\)"):
        APM(SMALL)(torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 30, "patch_size": 4}, "not a multiple of patch_size"),
        ({"image_size": 12, "patch_size": 4}, "column width that is not a multiple of 4"),
        ({"feature_dim": 100}, "not a multiple of 4 and of heads"),
        ({"hidden": ()}, "at least one ReLU layer"),
        ({"hidden": (8, 0)}, r"hidden\[1\] is 0"),
        ({"patch_size": 0}, "patch_size is 0"),
        ({"init_std": 0.0}, "must be positive"),
        ({"readout": "max"}, "'token' or 'mean'"),
    ],
)
def test_sizes_that_do_not_fit_together_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        APMConfig(**changes)  # type: ignore[arg-type]


def test_sizes_follow_the_teacher() -> None:
    published = APMConfig.for_teacher(224, 16, 512)
    assert (published.image_size, published.grid, published.hidden) == (448, 32, (4096, 2048, 1024))
    assert published.feature_dim == 512
    small = APMConfig.for_teacher(32, 4, 64)
    assert (small.image_size, small.grid, small.column_dim, small.hidden) == (32, 8, 64, (256, 128, 64))
