"""Streams: which images an online method sees, in which order, and where it is reset."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from apm_tta.data.dataset import Dataset, open_dataset
from apm_tta.data.sample import CLEAN, Condition
from apm_tta.errors import UserError
from apm_tta.harness.compute.stream_order import stream_order
from apm_tta.harness.plan import Cell, Stream, Streaming, plan_streams
from apm_tta.harness.streams import Reset, build_setting

FOG, SNOW = Condition("contrast", 3), Condition("pixelate", 3)
FOG5 = Condition("contrast", 5)
SAMPLES = {CLEAN: 30, FOG: 30, SNOW: 30, FOG5: 30}


def cells(*methods: str) -> list[Cell]:
    return [Cell("set", condition, "teacher", method, 0, "iid") for condition in SAMPLES for method in methods]


def streaming(setting: str, reset: Reset | int = "corruption") -> Streaming:
    return Streaming(build_setting(setting), reset)


def conditions(streams: list[Stream]) -> list[list[Condition]]:
    return [[condition for condition, _ in stream.conditions] for stream in streams]


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return open_dataset("fashion-mnist", limit=30)


@pytest.mark.parametrize(
    ("reset", "expected"),
    [
        ("corruption", [[CLEAN], [FOG], [SNOW], [FOG5]]),
        ("dataset", [[CLEAN], [FOG, SNOW], [FOG5]]),
        ("never", [[CLEAN, FOG, SNOW, FOG5]]),
    ],
)
def test_a_stream_ends_where_methods_are_reset(reset: Reset, expected: list[list[Condition]]) -> None:
    streams = plan_streams(cells("tent"), SAMPLES, streaming("continual", reset), {"tent": 64})
    assert conditions(streams) == expected
    assert [cell.condition for stream in streams for cell in stream.cells] == list(SAMPLES)
    assert all(stream.count_answers(cell) == 30 for stream in streams for cell in stream.cells)


def test_methods_that_require_other_batch_sizes_have_their_own_streams() -> None:
    batches = {"tent": 64, "sar": 64, "tda": None}
    streams = plan_streams(cells(*batches), SAMPLES, streaming("iid"), batches)
    assert [stream.stream_batch for stream in streams] == [64] * 4 + [None] * 4
    assert [{cell.method for cell in stream.cells} for stream in streams] == [{"tent", "sar"}] * 4 + [{"tda"}] * 4
    planned = Counter(cell for stream in streams for cell in stream.cells)
    assert planned == Counter(cells(*batches))


def test_every_seed_has_its_own_stream() -> None:
    seeds = [Cell("set", condition, "teacher", "tda", seed, "iid") for condition in SAMPLES for seed in (3, 1)]
    streams = plan_streams(seeds, SAMPLES, streaming("iid", "never"), {"tda": None})
    assert [stream.seed for stream in streams] == [3, 1]
    assert all({cell.seed for cell in stream.cells} == {stream.seed} for stream in streams)


def test_without_online_methods_there_are_no_streams() -> None:
    assert plan_streams([], SAMPLES, streaming("iid"), {}) == []


def test_a_mixed_stream_has_no_borders_between_corruptions() -> None:
    mixed = build_setting("mixed")
    assert mixed.default_reset == "dataset"
    with pytest.raises(UserError, match="mixed has no borders") as caught:
        mixed.check(list(SAMPLES), "corruption")
    assert caught.value.exit_code == 2


def stream(setting: str, seed: int = 1) -> Stream:
    return Stream(streaming(setting), ((FOG, 30), (SNOW, 30)), 64, seed, ())


@pytest.mark.parametrize("setting", ["iid", "continual", "mixed", "correlated"])
def test_every_image_appears_once_under_every_condition(dataset: Dataset, setting: str) -> None:
    places = stream_order(dataset, stream(setting))
    expected = [(condition, entry) for condition in (FOG, SNOW) for entry in dataset.entries(condition)]
    assert Counter(places) == Counter(expected)
    assert places != expected, "the data set's own order is by class"
    assert stream_order(dataset, stream(setting)) == places
    assert stream_order(dataset, stream(setting, seed=2)) != places


def test_conditions_follow_one_another_except_in_a_mixed_stream(dataset: Dataset) -> None:
    def borders(setting: str) -> int:
        order = [condition for condition, _ in stream_order(dataset, stream(setting))]
        return sum(one != other for one, other in pairwise(order))

    assert borders("iid") == borders("continual") == borders("correlated") == 1
    assert borders("mixed") > 10


def test_a_correlated_stream_comes_class_by_class(dataset: Dataset) -> None:
    places = stream_order(dataset, stream("correlated", seed=1))
    labels = [entry.label for _, entry in places]
    assert labels == sorted(labels[:30]) + sorted(labels[30:])
    first = [entry.id for condition, entry in places if condition == FOG and entry.label == 0]
    other = [entry.id for _, entry in stream_order(dataset, stream("correlated", seed=5))[:3]]
    assert sorted(first) == sorted(other), "the same images of the class"
    assert len(first) == 3


def test_the_order_under_one_condition_does_not_depend_on_its_neighbours(dataset: Dataset) -> None:
    alone = stream_order(dataset, Stream(streaming("iid"), ((SNOW, 30),), 64, 1, ()))
    assert stream_order(dataset, stream("continual", seed=1))[30:] == alone
