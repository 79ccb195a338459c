"""The field answers any locations in any order, alone or together, as the full grid does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from apm_tta.apm import APM, APMConfig
from apm_tta.apm.positions import axis_code

GRID = 6
CONFIG = APMConfig(image_size=6 * GRID, patch_size=6, hidden=(48, 32, 24), feature_dim=40, rgb_hidden=16)


def field(config: APMConfig, dtype: torch.dtype) -> tuple[APM, torch.Tensor]:
    """Return an APM whose answers differ between locations far more than the tolerance, and two images."""
    apm = APM(config, torch.Generator().manual_seed(3)).to(dtype)
    with torch.no_grad():
        for parameter in apm.parameters():
            parameter.mul_(12)
    images = torch.randn(2, 3, config.image_size, config.image_size, generator=torch.Generator().manual_seed(4))
    return apm, images.to(dtype)


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 2e-6), (torch.float64, 4e-15)])
@settings(max_examples=60)
@given(data=st.data())
def test_any_order_and_chunk_size_gives_the_grid_s_own_answers(
    dtype: torch.dtype, close: float, data: st.DataObject
) -> None:
    """Allow a few units in the last place, since sums are taken in another order."""
    locations = torch.tensor(data.draw(st.lists(st.integers(0, GRID**2 - 1), min_size=1, max_size=2 * GRID**2)))
    chunk = data.draw(st.none() | st.integers(1, 2 * GRID**2))
    apm, images = field(CONFIG, dtype)
    with torch.no_grad():
        whole, column = apm(images), apm.column(images)
        features = apm.query(column, locations, chunk)
        colours = apm.colours(column, features, locations, chunk)
    expected = whole.grid.flatten(1, 2)[:, locations]
    assert (features - expected).abs().max() <= close * whole.grid.abs().max()
    expected = whole.rgb.flatten(2).transpose(1, 2)[:, locations]
    assert (colours - expected).abs().max() <= close * whole.rgb.abs().max()
    assert whole.grid.std() > 0.1
    assert whole.rgb.std() > 0.01


@given(order=st.permutations(range(GRID**2)), chunk=st.integers(1, GRID**2))
@settings(max_examples=30)
def test_answers_are_exact_where_sums_are_exact(order: list[int], chunk: int) -> None:
    """Use weights and positions of few bits, in float64: no sum is rounded, so the order of summation cannot matter."""
    apm, images = field(CONFIG, torch.float64)
    with torch.no_grad():
        for parameter in apm.parameters():
            parameter.copy_((parameter * 8).round() / 8)
        column = (apm.column(images) * 4).round() / 4
        locations = torch.tensor(order)
        rounded = PositionOfFewBits()
        with rounded:
            together = apm.query(column, torch.arange(GRID**2))
            pieces = apm.query(column, locations, chunk)
    assert rounded.calls
    assert torch.equal(pieces, together[:, locations])


class PositionOfFewBits(TorchDispatchMode):
    """A mode that rounds sines and cosines to eighths."""

    calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten.sin.default, torch.ops.aten.cos.default):
            self.calls += 1
            return (output * 8).round() / 8
        return output


class LargestTensor(TorchDispatchMode):
    """A mode that keeps the number of elements of the largest tensor that any operation allocated."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        given = {one.untyped_storage().data_ptr() for one in args if isinstance(one, torch.Tensor)}
        for one in output if isinstance(output, tuple | list) else (output,):
            if isinstance(one, torch.Tensor) and one.untyped_storage().data_ptr() not in given:
                self.elements = max(self.elements, one.numel())
        return output


def test_memory_grows_with_the_chunk_and_not_with_the_grid() -> None:
    def largest(grid: int, chunk: int) -> int:
        config = APMConfig(image_size=4 * grid, patch_size=4, hidden=(2048, 32), feature_dim=8, rgb_hidden=8)
        apm, images = field(config, torch.float32)
        locations = torch.arange(64).repeat(2)[: 2 * 64]
        with torch.no_grad():
            column = apm.column(images)
            with LargestTensor() as largest_tensor:
                apm.colours(column, apm.query(column, locations, chunk), locations, chunk)
        return largest_tensor.elements

    images, widest = 2, 2048
    assert largest(8, 1) == largest(16, 1) == largest(24, 1) == images * widest
    assert largest(8, 16) == largest(16, 16) == largest(24, 16) == 16 * images * widest


def test_gradients_reach_every_parameter_of_the_field() -> None:
    apm, images = field(CONFIG, torch.float64)
    locations = torch.randperm(GRID**2, generator=torch.Generator().manual_seed(0))

    def gradients(by_query: bool) -> dict[str, torch.Tensor]:
        apm.zero_grad()
        if by_query:
            column = apm.column(images)
            features = apm.query(column, locations, 5)
            colours = apm.colours(column, features, locations, 5)
            loss = features.square().mean() + colours.square().mean()
        else:
            output = apm(images)
            loss = output.grid.square().mean() + output.rgb.square().mean()
        loss.backward()
        return {name: value.grad.clone() for name, value in apm.named_parameters() if value.grad is not None}

    by_query, whole = gradients(True), gradients(False)
    assert set(by_query) == {name for name, _ in apm.named_parameters() if not name.startswith("global_token")}
    for name, value in by_query.items():
        torch.testing.assert_close(value, whole[name], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("locations", [[36], [-1], [[0]]])
def test_a_location_that_is_not_on_the_grid_is_refused(locations: list[Any]) -> None:
    apm, images = field(CONFIG, torch.float32)
    column, off_grid = apm.column(images), torch.tensor(locations)
    with pytest.raises(ValueError, match="each from 0 to 35: 6 rows, row by row"):
        apm.query(column, off_grid)
    with pytest.raises(ValueError, match="each from 0 to 35"):
        apm.colours(column, torch.zeros(2, 1, 40), off_grid)


def test_a_chunk_of_nothing_is_refused() -> None:
    apm, images = field(CONFIG, torch.float32)
    with pytest.raises(ValueError, match="chunk is 0; it must be at least 1"):
        apm.query(apm.column(images), torch.tensor([0]), 0)


@given(places=st.lists(st.tuples(st.floats(-0.5, GRID - 0.5), st.floats(-0.5, GRID - 0.5)), min_size=1, max_size=9))
@settings(max_examples=30)
def test_between_locations_the_position_code_is_that_of_the_fraction(places: list[tuple[float, float]]) -> None:
    """Compare with the definition: column and code joined, through the layers one after another."""
    apm, images = field(CONFIG, torch.float64)
    with torch.no_grad():
        column = apm.column(images)
        asked = torch.tensor(places, dtype=torch.float64)
        found = apm.query(column, asked)
        half = CONFIG.position_dim // 2
        code = torch.cat([axis_code(asked[:, 1], half), axis_code(asked[:, 0], half)], 1)
        queries = torch.cat([column[:, None].expand(-1, len(asked), -1), code.expand(len(column), -1, -1)], -1)
        torch.testing.assert_close(found, apm.features(queries), rtol=1e-9, atol=1e-11)
        colours = apm.colours(column, found, asked, chunk=2)
        assert colours.shape == (2, len(asked), 3)


def test_whole_rows_and_columns_are_the_locations_of_the_grid() -> None:
    apm, images = field(CONFIG, torch.float32)
    with torch.no_grad():
        column, locations = apm.column(images), torch.arange(GRID**2)
        places = torch.stack([locations // GRID, locations % GRID], 1)
        assert torch.equal(apm.query(column, places.float()), apm.query(column, locations))


@pytest.mark.parametrize("place", [[-0.6, 0.0], [0.0, 5.6], [6.0, 6.0]])
def test_a_place_beyond_the_picture_is_refused(place: list[float]) -> None:
    apm, images = field(CONFIG, torch.float32)
    with pytest.raises(ValueError, match=r"rows and columns must be from -0.5 to 5.5"):
        apm.query(apm.column(images), torch.tensor([place]))


def test_places_of_each_image_are_answered_as_if_asked_for_alone() -> None:
    apm, images = field(CONFIG, torch.float64)
    places = torch.rand(2, 7, 2, generator=torch.Generator().manual_seed(6), dtype=torch.float64) * GRID - 0.5
    with torch.no_grad():
        column = apm.column(images)
        together = apm.query(column, places)
        colours = apm.colours(column, together, places, chunk=3)
        for index, own in enumerate(places):
            alone = apm.query(column[index : index + 1], own)
            torch.testing.assert_close(together[index : index + 1], alone, rtol=1e-9, atol=1e-11)
            shown = apm.colours(column[index : index + 1], alone, own)
            torch.testing.assert_close(colours[index : index + 1], shown, rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(apm.query(column, places, chunk=2), together, rtol=1e-9, atol=1e-11)


def test_the_token_of_all_locations_is_that_of_the_grid_wherever_they_are_named() -> None:
    apm, images = field(CONFIG, torch.float64)
    everywhere = torch.arange(GRID**2)
    with torch.no_grad():
        features = apm.query(apm.column(images), everywhere)
        torch.testing.assert_close(apm.readout(features, everywhere), apm.readout(features), rtol=1e-6, atol=1e-7)
        order = torch.randperm(GRID**2, generator=torch.Generator().manual_seed(2))
        torch.testing.assert_close(apm.readout(features[:, order], order), apm.readout(features), rtol=1e-6, atol=1e-7)
