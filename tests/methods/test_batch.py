"""Shared values are computed once, and each method's cost is what it would be alone."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from apm_tta.data.cards import load_card
from apm_tta.data.task import Task
from apm_tta.methods import METHODS, ViewSpec, build_parameters
from apm_tta.methods.batch import Batch, CommonKey, Shared
from apm_tta.methods.images import Images
from apm_tta.teachers import Teacher, load_teacher

IMAGES = Images([Image.new("RGB", (2, 2))])


class Clock:
    """A replacement for the clock that makes costs exact."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr("apm_tta.methods.clock.time.perf_counter", lambda: self.now / 1000)

    def work(self, milliseconds: float, value: object = None) -> object:
        self.now += milliseconds
        return value


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_a_value_is_computed_once() -> None:
    shared, calls = Shared(), []
    for _ in range(3):
        assert shared.get("key", lambda: calls.append(1) or "value") == "value"
    assert len(calls) == 1


def test_later_methods_are_charged_the_same_as_the_first(clock: Clock) -> None:
    shared = Shared()
    meters = []
    for _ in range(2):
        with shared.metered() as meter:
            shared.get("views", lambda: clock.work(70))
            clock.work(5)
        meters.append(meter)
    assert [(meter.own, meter.shared, meter.alone) for meter in meters] == [
        (pytest.approx(5), 70, pytest.approx(75))
    ] * 2


def test_the_inputs_of_a_shared_value_are_charged_once_to_each_method(clock: Clock) -> None:
    """Features need pixels: a method that requests both is charged for the pixels once, in either order."""
    shared = Shared()

    def pixels() -> object:
        return shared.get("pixels", lambda: clock.work(10))

    def features() -> object:
        return shared.get("features", lambda: (pixels(), clock.work(100)))

    with shared.metered() as only_pixels:
        pixels()
    with shared.metered() as both:
        features()
        pixels()
        clock.work(1)
    with shared.metered() as only_features:
        features()
    with shared.metered() as neither:
        clock.work(3)
    assert only_pixels.alone == pytest.approx(10)
    assert both.alone == pytest.approx(111)
    assert only_features.alone == pytest.approx(110)
    assert (neither.own, neither.shared) == (pytest.approx(3), 0)


def test_the_time_of_another_process_counts_and_that_of_a_cache_is_unknown(clock: Clock) -> None:
    shared = Shared()
    pixels, features = CommonKey("pixels", ()), CommonKey("features", ())
    shared.put(pixels, "loaded", 40.0)
    shared.put(features, "read from disk", None)
    with shared.metered() as loaded:
        assert shared.get(pixels, lambda: "computed") == "loaded"
        clock.work(2)
    with shared.metered() as cached:
        assert shared.get(features, lambda: "computed") == "read from disk"
    assert loaded.alone == pytest.approx(42)
    assert cached.alone is None
    assert shared.has(features)
    assert not shared.has(CommonKey("views", ()))


def test_an_error_leaves_the_accounts_correct(clock: Clock) -> None:
    shared = Shared()

    def fail() -> object:
        clock.work(9)
        raise RuntimeError("out of memory")

    with shared.metered() as meter:
        with pytest.raises(RuntimeError):
            shared.get("views", fail)
        shared.get("views", lambda: clock.work(4))
    assert meter.alone == pytest.approx(13)


def test_batches_with_the_same_images_are_equal_whatever_was_computed() -> None:
    one, two = Batch(("a",), IMAGES), Batch(("a",), IMAGES)
    one.shared.put(CommonKey("features", ()), 1, None)
    assert one == two
    assert len(one) == 1


def test_two_teachers_and_two_seeds_do_not_mix_up_shared_values(
    embedded_teacher: Teacher, embedded_batch: Batch
) -> None:
    """Another teacher of the same kind has its own pixels and features of the same batch."""
    task = Task(tuple(load_card("fashion-mnist").class_list.names), crop_scale=(0.5, 1.0))
    other = load_teacher("embedded")
    other.preprocess = lambda image: embedded_teacher.preprocess(image).flip(-1)
    one, two = (
        METHODS.get("zeroshot")(each, task, build_parameters("zeroshot", {}), 0) for each in (embedded_teacher, other)
    )
    batch = Batch(embedded_batch.ids, embedded_batch.images)
    assert not torch.equal(one.features(batch), two.features(batch))
    again = METHODS.get("zeroshot")(embedded_teacher, task, build_parameters("zeroshot", {}), 1)
    spec = ViewSpec(2, (0.5, 1.0))
    assert not torch.equal(one.view_features(batch, spec), again.view_features(batch, spec))
    assert again.features(batch) is one.features(batch)
