"""The pretended device finds what it is there to find: a copy to the CPU, and a tensor that was left there."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import torch
from pretended_cuda import CUDA, SITES, Elsewhere, Waits, pretended_cuda
from worker_runs import of_embedded

from apm_tta.apm.fresh import row_on
from apm_tta.apm.positions import code_on
from apm_tta.constant_tensors import channel_values
from apm_tta.data.sample import Condition
from apm_tta.errors import UserError
from apm_tta.harness.compute.prepare import Prepared
from apm_tta.methods import METHODS, Batch, Method, Predictions, base, build_method
from apm_tta.methods.answering import answer
from apm_tta.methods.batch import Shared

NAMES = of_embedded()
Ask = Callable[[Method[Any]], int]
GIVEN = ("features_of", "pixels_of", "view_features_of", "view_pixels_of")
"""What a method is given, in the module of its base class."""


MISSED: set[str] = set()
"""Lines that a method has been seen to miss: those that methods share need not be taken from each of them."""


@pytest.fixture
def run(prepared: Callable[[torch.device], Prepared]) -> Prepared:
    return prepared(CUDA)


@pytest.fixture
def waits() -> Iterator[Waits]:
    with pretended_cuda() as counted:
        yield counted


@pytest.fixture
def ask(run: Prepared, waits: Waits) -> Ask:
    """Return a function that asks a method for two images, as a worker does, and counts how often that waits."""
    condition = Condition("contrast", 5)
    entries = run.dataset.entries(condition)[:2]
    images = tuple(run.dataset.read(entry, condition).image for entry in entries)

    def asked(method: Method[Any]) -> int:
        batch = Batch(tuple(entry.id for entry in entries), images, Shared(CUDA))
        with torch.no_grad():
            method.reset()
            before = waits.total
            answer(method, batch)
            return waits.total - before

    return asked


def forget_constants() -> None:
    """Forget what is moved to a device once in a process."""
    channel_values.cache_clear()
    code_on.cache_clear()
    row_on.cache_clear()


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_that_a_method_copies_to_the_cpu_is_a_wait_too_many(
    name: str, run: Prepared, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    method, kind = run.methods[name], METHODS.get(name)
    ask(method)  # moves constants
    predict = kind.predict

    def planted(self: Method[Any], batch: Batch) -> Predictions:
        predictions = predict(self, batch)
        return replace(predictions, logits=predictions.logits.cpu())

    as_it_is = ask(method)
    monkeypatch.setattr(kind, "predict", planted)
    assert ask(method) == as_it_is + 1


@pytest.mark.parametrize("name", NAMES)
def test_a_method_that_is_given_a_tensor_of_the_cpu_is_refused(
    name: str, run: Prepared, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    for given in GIVEN:
        own = getattr(base, given)
        monkeypatch.setattr(base, given, functools.partial(lambda own, *args: own(*args).cpu(), own))
    with pytest.raises((Elsewhere, UserError), match="at least two devices, cuda:0 and cpu"):
        ask(run.methods[name])


@pytest.mark.parametrize("name", NAMES)
def test_each_line_that_puts_a_tensor_on_the_device_is_missed_where_it_does_not(
    name: str, run: Prepared, ask: Ask, waits: Waits
) -> None:
    """What meets a tensor of the device is refused; what torch copies there by itself is a wait too many."""
    parameters, task, teacher = run.request.parameters[name], run.methods[name].task, run.teacher

    def waits_from_the_start() -> int:
        forget_constants()
        before = waits.total
        ask(build_method(name, teacher, task, parameters, 0))
        return waits.total - before

    SITES.seen.clear()
    as_it_is = waits_from_the_start()
    # What makes views is the same for all methods over views: one stands for all.
    others = ("guard/",) if name == "vte" else ("guard/", "views/")
    lines = [line for line in SITES.seen if not line.startswith(others)]
    assert any(line.startswith("methods/") for line in lines)
    unmissed = []
    for line in lines:
        if line in MISSED:
            continue
        with suppress(Elsewhere, UserError), SITES.forgetting(line):
            if waits_from_the_start() <= as_it_is:
                unmissed.append(line)
    forget_constants()
    assert not unmissed
    MISSED.update(lines)
