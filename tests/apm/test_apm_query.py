"""The field answers at any locations, in any order and in any chunks, what it answers over the whole grid."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from apm_tta.apm import APM, APMConfig
from apm_tta.field.live_memory import LiveMemory

CONFIG = APMConfig(image_size=24, patch_size=4, hidden=(48, 32, 24), feature_dim=16, rgb_hidden=12, init_std=0.3)
LOCATIONS = CONFIG.grid**2
# A product of fewer rows may be summed in another order. Sums of at most 96 terms in float32 differ by a few units in
# the last place, relative to the largest term; in float64 by 1e-9 of that, which shows that nothing else differs.
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-13}


def apm_and_column(dtype: torch.dtype = torch.float32, images: int = 2) -> tuple[APM, torch.Tensor]:
    apm = APM(CONFIG, torch.Generator().manual_seed(1)).to(dtype).requires_grad_(False)
    pixels = torch.randn(images, 3, 24, 24, generator=torch.Generator().manual_seed(2)).to(dtype)
    return apm, apm.column(pixels)


def whole(apm: APM, column: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """By the definition: features ``(B, L, F)`` and colours ``(B, L, 3)`` of every location."""
    queries = apm.queries(column)
    features = apm.features(queries)
    return features, apm.rgb(features, queries).flatten(2).transpose(1, 2)


@given(
    dtype=st.sampled_from([torch.float32, torch.float64]),
    locations=st.lists(st.integers(0, LOCATIONS - 1), max_size=2 * LOCATIONS),
    chunk=st.none() | st.integers(1, 3 * LOCATIONS),
    pairs=st.booleans(),
)
def test_any_locations_in_any_order_and_chunk_are_answered_as_by_the_grid(
    dtype: torch.dtype, locations: list[int], chunk: int | None, pairs: bool
) -> None:
    apm, column = apm_and_column(dtype)
    features, colours = whole(apm, column)
    flat = torch.tensor(locations, dtype=torch.long)
    asked = torch.stack([flat // CONFIG.grid, flat % CONFIG.grid], 1) if pairs else flat
    answers = apm.query(column, asked, chunk)
    assert answers.features.shape == (2, len(locations), CONFIG.feature_dim)
    assert answers.rgb.shape == (2, len(locations), 3)
    atol = TOLERANCE[dtype] * float(features.abs().max())
    torch.testing.assert_close(answers.features, features[:, flat], rtol=0, atol=atol)
    torch.testing.assert_close(answers.rgb, colours[:, flat], rtol=0, atol=atol)


def test_all_locations_at_once_are_the_forward_pass_to_the_last_bit() -> None:
    apm, column = apm_and_column()
    features, colours = whole(apm, column)
    answers = apm.query(column, torch.arange(LOCATIONS))
    assert torch.equal(answers.features, features)
    assert torch.equal(answers.rgb, colours)
    assert float(colours.max()) > 0, "colours that are all 0 would equal anything that is dead"


def test_gradients_flow_through_a_query_as_through_the_grid() -> None:
    apm, column = apm_and_column(torch.float64)
    apm.requires_grad_(True)
    whole(apm, column)[0].square().sum().backward()
    expected = apm.mlp[0].weight.grad.clone()
    apm.zero_grad()
    apm.query(
        column, torch.randperm(LOCATIONS, generator=torch.Generator().manual_seed(0)), 5
    ).features.square().sum().backward()
    torch.testing.assert_close(apm.mlp[0].weight.grad, expected)


@pytest.mark.parametrize("count", [LOCATIONS, 20 * LOCATIONS])
def test_no_intermediate_grows_with_the_number_of_locations(count: int) -> None:
    """Every storage but the answers, and the list of locations itself, is at most as large as one chunk needs."""
    apm, column = apm_and_column(images=1)
    locations = torch.arange(count) % LOCATIONS
    sizes: list[int] = []

    class Sizes(LiveMemory):
        def _count(self, storage: torch.UntypedStorage) -> None:
            sizes.append(storage.nbytes())
            super()._count(storage)

    chunk = 4
    with Sizes():
        answers = apm.query(column, locations, chunk)
    for answer in (answers.features, answers.rgb):
        sizes.remove(answer.untyped_storage().nbytes())
    assert max(sizes) == 4 * chunk * (CONFIG.feature_dim + 2 * CONFIG.position_dim), "[f ; u] of a chunk is the widest"


@pytest.mark.parametrize(
    ("locations", "chunk", "message"),
    [
        (torch.tensor([LOCATIONS]), None, f"they are 0 to {LOCATIONS - 1}"),
        (torch.tensor([-1]), None, "-1 to -1"),
        (torch.tensor([[0, CONFIG.grid]]), None, f"they are 0 to {CONFIG.grid - 1}"),
        (torch.tensor([[0, 1, 2]]), None, r"expected \(n,\) or \(n, 2\)"),
        (torch.tensor(3), None, r"expected \(n,\) or \(n, 2\)"),
        (torch.tensor([0.5]), None, "expected integers"),
        (torch.tensor([True]), None, "expected integers"),
        (torch.tensor([0]), 0, "at least 1"),
    ],
)
def test_what_is_no_location_is_refused(locations: torch.Tensor, chunk: int | None, message: str) -> None:
    apm, column = apm_and_column()
    with pytest.raises(ValueError, match=message):
        apm.query(column, locations, chunk)


def test_a_column_of_another_width_is_refused() -> None:
    apm, column = apm_and_column()
    with pytest.raises(ValueError, match=r"expected \(B, 36\)"):
        apm.query(column[:, 1:], torch.tensor([0]))
