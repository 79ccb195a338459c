"""The rule that marks times, on recorded clocks: of a quiet machine, a loaded one, and one that drifts."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from apm_tta.harness.compute import watch as watch_module
from apm_tta.harness.compute.watch import Watch, measure_reference
from apm_tta.harness.quietness import LEAST_SHARE, MOST_SLOWED, Clocks, Stretch, disturbance, summarise

CELLS = 40


def recorded(references: Sequence[float], shares: Sequence[float], seconds: float = 2.0) -> list[Clocks]:
    """Return the clocks of cells between consecutive references, each with its share of a core."""
    pairs = zip(references[:-1], references[1:], shares, strict=True)
    found = [summarise([Stretch(seconds, seconds * share, *pair)]) for *pair, share in pairs]
    assert all(found)
    return [each for each in found if each is not None]


def marks(cells: Sequence[Clocks]) -> list[str]:
    fastest = min(each.fastest_ms for each in cells)
    return [disturbance(each, fastest) for each in cells]


def wavering(low: float, high: float, count: int) -> list[float]:
    """Return values that go up and down between two, in a fixed order without a pattern."""
    return [low + (high - low) * (index * 7919 % 101) / 100 for index in range(count)]


def test_a_quiet_machine_has_no_marked_cell() -> None:
    """Clocks as an idle machine gave them: references within a tenth, a core for 96 to 99.9 % of the time."""
    assert marks(recorded(wavering(0.37, 0.41, CELLS + 1), wavering(0.96, 0.999, CELLS))) == [""] * CELLS


def test_a_loaded_machine_has_marked_cells_only_even_where_it_never_was_quiet() -> None:
    """Every reference is slow, so none of them shows it: the share of a core does."""
    found = marks(recorded(wavering(11.0, 12.0, CELLS + 1), wavering(0.3, 0.55, CELLS)))
    assert all("a core for" in mark for mark in found)
    assert not any("the reference" in mark for mark in found)


def test_a_machine_that_drifts_is_marked_from_where_it_is_slower_than_allowed() -> None:
    """The core is ours all the time, and it becomes half as fast: hot, or shared below the system's own clocks."""
    references = [1 + index / CELLS for index in range(CELLS + 1)]
    found = marks(recorded(references, [0.99] * CELLS))
    means = [(one + other) / 2 for one, other in itertools.pairwise(references)]
    assert [bool(mark) for mark in found] == [mean > MOST_SLOWED for mean in means]
    assert found[0] == ""
    assert found[-1] == "the reference took 2.0 times as long as at best"


def test_a_load_before_or_after_a_cell_alone_marks_it() -> None:
    for before, after in ((1.0, 3.0), (3.0, 1.0)):
        (cell,) = recorded([before, after], [0.99])
        assert disturbance(cell, 1.0) == "the reference took 2.0 times as long as at best"


def test_one_slow_reference_among_many_marks_nothing() -> None:
    """What an idle machine does now and then is not what the cell's times are made of."""
    references = [1.0] * 20 + [3.0] + [1.0] * 20
    pairs = itertools.pairwise(references)
    cell = summarise([Stretch(1.0, 0.99, *pair) for pair in pairs])
    assert cell is not None
    assert disturbance(cell, 1.0) == ""


def test_a_long_stretch_counts_more_than_a_short_one() -> None:
    cell = summarise([Stretch(9.0, 4.5, 2.0, 2.0), Stretch(1.0, 1.0, 1.0, 1.0)])
    assert cell == Clocks(reference_ms=1.9, fastest_ms=1.0, processor_share=0.55)
    assert summarise([]) is None
    assert summarise([Stretch(0.0, 0.0, 1.0, 1.0)]) is None


TIMES = st.floats(0.01, 100)
STRETCHES = st.lists(st.builds(Stretch, TIMES, TIMES, TIMES, TIMES), min_size=1, max_size=8)


@given(STRETCHES, TIMES)
def test_a_longer_reference_or_less_of_a_core_never_takes_a_mark_away(stretches: list[Stretch], fastest: float) -> None:
    cell = summarise(stretches)
    assert cell is not None
    before = disturbance(cell, fastest)
    worse = cell.model_copy(update={"reference_ms": 2 * cell.reference_ms, "processor_share": cell.processor_share / 2})
    if before:
        assert disturbance(worse, fastest)


@given(STRETCHES, st.floats(0.01, 100))
def test_the_rule_does_not_depend_on_the_speed_of_the_machine(stretches: list[Stretch], factor: float) -> None:
    """All references in another unit: the same cells are marked, but for the last digit that is kept."""
    slower = [
        Stretch(each.seconds, each.processor_seconds, factor * each.before, factor * each.after) for each in stretches
    ]
    one, other = summarise(stretches), summarise(slower)
    assert one is not None
    assert other is not None
    if abs(one.reference_ms / one.fastest_ms - MOST_SLOWED) < 0.1 or min(one.fastest_ms, other.fastest_ms) < 0.05:
        return
    assert bool(disturbance(one, one.fastest_ms)) == bool(disturbance(other, other.fastest_ms))
    assert (one.processor_share < LEAST_SHARE) == (other.processor_share < LEAST_SHARE)


def test_every_turn_lies_between_two_references_which_hold_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns of 0.4 s: a reference is measured before the first, after the last, and once a second between them."""
    now, references = [0.0], iter(range(1, 100))
    monkeypatch.setattr(watch_module.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(watch_module, "processor_seconds", lambda _device: now[0] / 2)
    monkeypatch.setattr(watch_module, "measure_reference", lambda _device: float(next(references)))
    watch = Watch(torch.device("cpu"))
    for turn in range(6):
        with watch.during("even" if turn % 2 == 0 else "odd"):
            now[0] += 0.4
    clocks = watch.end()
    assert set(clocks) == {"even", "odd"}
    assert {each.processor_share for each in clocks.values()} == {0.5}
    assert clocks["even"].reference_ms == pytest.approx((0.8 * 1.5 + 0.4 * 2.5) / 1.2, abs=1e-3)
    assert clocks["odd"].reference_ms == pytest.approx((0.4 * 1.5 + 0.8 * 2.5) / 1.2, abs=1e-3)
    assert next(references) == 4, "three references for six turns"
    assert watch.end() == {}


def test_the_reference_leaves_no_trace_in_random_numbers() -> None:
    before = torch.get_rng_state()
    with torch.no_grad():
        assert measure_reference(torch.device("cpu")) > 0
    assert torch.equal(before, torch.get_rng_state())
