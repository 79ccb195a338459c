"""Settings of streams: the draw of each, what it repeats, and what it refuses."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import Field

from apm_tta.commands.setting_options import setting_options
from apm_tta.data.layouts import Entry
from apm_tta.data.sample import CLEAN, Condition
from apm_tta.errors import UnknownName, UserError
from apm_tta.harness.plan import Cell, Stream, Streaming, plan_streams, record_file
from apm_tta.harness.request.run_request import resolve_request
from apm_tta.harness.streams import StreamSetting, build_setting, register

FOG = [Condition("fog", severity) for severity in (1, 2, 3, 4, 5)]
SNOW = [Condition("snow", severity) for severity in (1, 2, 3, 4, 5)]


def images(counts: list[int]) -> list[Entry]:
    """Return so many images of each class, in the order of the classes."""
    return [Entry(f"{label}/{number}", label) for label, count in enumerate(counts) for number in range(count)]


def ordered(name: str, entries: list[Entry], seed: int = 0, batch: int | None = None, **parameters: Any) -> list[Entry]:
    places = build_setting(name, parameters).order([(CLEAN, entries)], seed, batch)
    return [entry for _, entry in places]


def runs(entries: list[Entry]) -> float:
    """Return the mean length of runs of one class."""
    return len(entries) / len(list(groupby(entry.label for entry in entries)))


class_sizes = st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(any)


@hypothesis_settings(max_examples=60, deadline=None)
@given(class_sizes, st.floats(1e-4, 1e4), st.integers(0, 2**40))
def test_a_dirichlet_stream_shows_every_image_once(counts: list[int], gamma: float, seed: int) -> None:
    entries = images(counts)
    found = ordered("dirichlet", entries, seed, gamma=gamma)
    assert Counter(found) == Counter(entries)
    assert found == ordered("dirichlet", entries, seed, gamma=gamma), "drawn from the seed"


@hypothesis_settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**40), st.integers(4, 12))
def test_the_smaller_gamma_the_longer_the_runs(seed: int, classes: int) -> None:
    """From sorted by class, nearly, to as many runs as slots have classes."""
    entries = images([60] * classes)
    small, large = (runs(ordered("dirichlet", entries, seed, gamma=gamma)) for gamma in (0.001, 100))
    assert small > 2 * large


@hypothesis_settings(max_examples=60, deadline=None)
@given(class_sizes, st.integers(1, 20), st.integers(1, 24), st.integers(0, 2**40))
def test_batches_have_few_classes_until_no_class_has_a_share_left(
    counts: list[int], most: int, batch: int, seed: int
) -> None:
    entries = images(counts)
    found = ordered("few-classes", entries, seed, batch, classes_per_batch=most)
    assert Counter(found) == Counter(entries)
    batches = [found[start : start + batch] for start in range(0, len(found), batch)]
    many = [len({entry.label for entry in each}) > most for each in batches]
    full = many.index(True) if True in many else len(many)
    left = Counter(entry.label for each in batches[full:] for entry in each)
    share = -(-batch // min(most, batch))
    assert full == len(many) or sum(count // share for count in left.values()) < min(most, batch)


def test_gradual_severities_rise_and_fall_corruption_by_corruption() -> None:
    """Nine passes of five severities; the clean images, which have none, once."""
    gradual = build_setting("gradual")
    passes = gradual.passes([CLEAN, *FOG, *SNOW])
    assert [each.severity for each in passes] == [0, *2 * [1, 2, 3, 4, 5, 4, 3, 2, 1]]
    assert [each.corruption for each in passes] == ["clean", *["fog"] * 9, *["snow"] * 9]
    assert gradual.between_resets([CLEAN, *FOG, *SNOW], "corruption") == [[CLEAN], FOG, SNOW]
    assert gradual.between_resets([CLEAN, *FOG, *SNOW], "never") == [[CLEAN, *FOG, *SNOW]]


def test_each_pass_shows_the_same_images_in_another_order() -> None:
    entries = images([10] * 3)
    passes = [(condition, entries) for condition in build_setting("gradual").passes(FOG)]
    places = build_setting("gradual").order(passes, 0, None)
    parts = [places[start : start + 30] for start in range(0, len(places), 30)]
    assert [part[0][0].severity for part in parts] == [1, 2, 3, 4, 5, 4, 3, 2, 1]
    assert all(Counter(entry for _, entry in part) == Counter(entries) for part in parts)
    assert len({tuple(part) for part in parts}) == 9


def test_a_stored_stream_is_in_the_order_of_the_set() -> None:
    entries = images([3, 2])[::-1]
    assert ordered("stored", entries) == entries


def test_a_stream_counts_what_it_shows_and_a_cell_what_it_answers() -> None:
    cells = [Cell("set", condition, "teacher", "tent", 0, "gradual") for condition in FOG]
    (stream,) = plan_streams(cells, dict.fromkeys(FOG, 30), Streaming(build_setting("gradual"), "never"), {"tent": 64})
    assert stream.images == 270
    assert [stream.count_answers(cell) for cell in cells] == [60, 60, 60, 60, 30]


def test_a_window_takes_the_place_of_the_methods_batches() -> None:
    """So they share one stream."""
    cells = [Cell("set", CLEAN, "teacher", method, 0, "iid window=8") for method in ("tent", "cotta")]
    batches: dict[str, int | None] = {"tent": 64, "cotta": 32}
    streams = plan_streams(cells, {CLEAN: 30}, Streaming(build_setting("iid"), "corruption", 8), batches)
    assert [stream.stream_batch for stream in streams] == [8]


@pytest.mark.parametrize(
    ("streaming", "text", "file"),
    [
        (Streaming(build_setting("iid"), "never"), "iid", "iid"),
        (Streaming(build_setting("dirichlet", {"gamma": 0.1}), 7), "dirichlet gamma=0.1 reset=7", None),
        (
            Streaming(build_setting("few-classes", {"classes_per_batch": 3}), "never", 4),
            "few-classes classes_per_batch=3 window=4",
            "few-classes-classes_per_batch-3-window-4",
        ),
    ],
)
def test_column_and_files_name_the_setting_with_its_parameters(
    streaming: Streaming, text: str, file: str | None
) -> None:
    assert str(streaming) == text
    name = record_file(Cell("set", CLEAN, "teacher", "tent", 2, str(streaming)), 0).name
    assert name == f"{file or 'dirichlet-gamma-0.1-reset-7'}-seed-2-shard-00000.parquet"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"stream": {"gamma": 0.1}}, "--gamma has no effect: setting iid has no gamma; --setting dirichlet has one"),
        (
            {"setting": "dirichlet", "stream": {"classes_per_batch": 3}},
            "--classes-per-batch has no effect: setting dirichlet has no classes_per_batch; --setting few-classes has",
        ),
        ({"setting": "dirichlet", "stream": {"gamma": 0}}, "setting dirichlet, gamma: "),
        ({"setting": "gradual", "severities": [5]}, "gradual needs several severities"),
        ({"setting": "gradual", "reset": "dataset"}, "gradual goes through all severities"),
        ({"setting": "mixed", "reset": "corruption"}, "mixed has no borders"),
        ({"reset": 0}, "reset: "),
        ({"window": 0}, "window: "),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        resolve_request("demo", overrides)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_an_unknown_setting_is_refused_with_those_that_exist() -> None:
    with pytest.raises(UnknownName, match=r"few-classes.*gradual"):
        resolve_request("demo", {"setting": "sorted"})


def test_a_suites_own_parameters_are_not_those_of_another_setting() -> None:
    request = resolve_request("demo", {"setting": "dirichlet", "stream": {"gamma": 0.5}})
    assert str(request.suite.streaming) == "dirichlet gamma=0.5"
    assert request.command()[-4:] == ["--setting", "dirichlet", "--gamma", "0.5"]


@pytest.mark.usefixtures("nothing_stays_registered")
def test_a_setting_of_ones_own_needs_nothing_but_its_file() -> None:
    """It is found by name, and its parameter is an option with bounds and help."""

    class Backwards(StreamSetting):
        """Each condition backwards, from an image on."""

        name = "backwards"
        skip: Annotated[int, Field(ge=0, le=9, description="Images to begin with.")] = 2

        def arrange(self, entries: Any, seed: int, name: str, batch: int | None) -> list[Entry]:
            return [*entries[: self.skip], *entries[: self.skip - 1 : -1]]

    register(Backwards)
    (option,) = [each for each in setting_options() if each.name == "skip"]
    assert option.opts == ["--skip"]
    assert option.help == "Images to begin with. [--setting backwards: 2]"
    request = resolve_request("demo", {"setting": "backwards", "stream": {"skip": 1}})
    stream = Stream(request.suite.streaming, ((CLEAN, 3),), None, 0, ())
    places = stream.streaming.setting.order([(CLEAN, images([3]))], 0, None)
    assert [entry.id for _, entry in places] == ["0/0", "0/2", "0/1"]
