"""Sliding windows and restarts: a run's answers are those of loops that are written out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from apm_tta.data.sample import CLEAN, Condition
from apm_tta.errors import UserError
from apm_tta.harness.compute.prepare import Prepared, plan, prepare
from apm_tta.harness.compute.stream_order import stream_order
from apm_tta.harness.plan import Stream
from apm_tta.harness.request.run_request import RunRequest, resolve_request
from apm_tta.harness.run import run
from apm_tta.harness.storage.records import read_records
from apm_tta.methods import Batch, Method

LIMIT = 20


def requested(out: Path, methods: Sequence[str], **overrides: Any) -> RunRequest:
    return resolve_request(
        "demo",
        {
            "teacher": "embedded-resnet",
            "methods": methods,
            "limit": LIMIT,
            "corruptions": ["contrast"],
            "severities": [5],
            "clean": False,
            **overrides,
        },
        out=out,
        devices=("cpu",),
        quiet=True,
    )


class ByHand:
    """A method over the stream of a prepared run, asked without the harness."""

    def __init__(self, prepared: Prepared, name: str) -> None:
        self.method: Method[Any] = prepared.seeded[name, 0]
        (stream,) = [
            each
            for each in plan(prepared)[1]
            if isinstance(each, Stream) and any(cell.method == name for cell in each.cells)
        ]
        self.size = self.method.stream_batch or 1
        self.places = stream_order(prepared.dataset, stream)
        self._images = [prepared.dataset.read(entry, condition).image for condition, entry in self.places]
        self.method.reset()

    def answer(self, rows: Sequence[int]) -> np.ndarray[Any, Any]:
        """Return the confidence of the predicted class for some images of the stream, given together."""
        batch = Batch(tuple(self.places[row][1].id for row in rows), [self._images[row] for row in rows])
        with torch.no_grad():
            return self.method.predict(batch).logits.float().softmax(1).detach().numpy()


def recorded(table: pa.Table, name: str, by_hand: ByHand) -> tuple[list[int], list[float]]:
    """Return predictions and confidences of a method in the order of its stream."""
    rows = {row["id"]: row for row in table.to_pylist() if row["method"] == name}
    own = [rows[entry.id] for _, entry in by_hand.places]
    return [row["prediction"] for row in own], [row["confidence"] for row in own]


def agree(table: pa.Table, name: str, by_hand: ByHand, probabilities: np.ndarray[Any, Any]) -> None:
    predictions, confidences = recorded(table, name, by_hand)
    assert predictions == probabilities.argmax(1).tolist()
    np.testing.assert_allclose(confidences, probabilities.max(1), atol=1e-5)


@pytest.mark.parametrize("restarted", [None, 7])
def test_a_window_shows_the_last_images_and_the_newest_counts(tmp_path: Path, restarted: int | None) -> None:
    """Of TENT, which takes a step each time, and of BatchNorm by the window's statistics; also begun again after 7."""
    reset = {} if restarted is None else {"reset": restarted}
    request = requested(tmp_path / "run", ["tent"], window=4, **reset)
    table = read_records(run(request))
    prepared = prepare(request, torch.device("cpu"))
    for name in ("tent", "norm"):
        by_hand = ByHand(prepared, name)
        answers, window = [], []
        for row in range(LIMIT):
            if restarted and row % restarted == 0:
                by_hand.method.reset()
                window = []
            window = [*window, row][-4:]
            answers.append(by_hand.answer(window)[-1])
        agree(table, name, by_hand, np.stack(answers))
    expected = "iid window=4" + ("" if restarted is None else " reset=7")
    assert {*table["setting"].to_pylist()} == {expected}
    assert table["position"].null_count == len(table), "each image is an answer once"


def test_a_reset_every_two_steps_is_a_method_begun_again(tmp_path: Path) -> None:
    """A step of TENT is its batch, one of TDA an image; no step is counted twice where the harness measures."""
    settings = {"tent": {"batch_size": 5, "learning_rate": 0.05}}
    request = requested(tmp_path / "run", ["tent", "tda"], reset=2, settings=settings)
    table = read_records(run(request))
    prepared = prepare(request, torch.device("cpu"))
    for name in ("tent", "tda"):
        by_hand = ByHand(prepared, name)
        answers = []
        for step, start in enumerate(range(0, LIMIT, by_hand.size)):
            if step % 2 == 0:
                by_hand.method.reset()
            answers.append(by_hand.answer(range(start, min(start + by_hand.size, LIMIT))))
        agree(table, name, by_hand, np.concatenate(answers))
    once = ByHand(prepared, "tent")
    kept = np.concatenate([once.answer(range(start, start + 5)) for start in range(0, LIMIT, 5)])
    assert np.abs(kept.max(1) - recorded(table, "tent", once)[1]).max() > 1e-3, "without the reset it differs"


def test_a_reset_after_steps_goes_on_through_all_conditions(tmp_path: Path) -> None:
    request = requested(tmp_path / "run", ["tda"], reset=9, clean=True)
    streams = [unit for unit in plan(prepare(request, torch.device("cpu")))[1] if isinstance(unit, Stream)]
    assert [[condition for condition, _ in each.conditions] for each in streams] == [[CLEAN, Condition("contrast", 5)]]


@pytest.mark.parametrize(
    ("methods", "overrides", "message"),
    [
        (["zeroshot"], {"window": 4}, "--window 4 has no effect: none of the methods is online"),
        (["zeroshot"], {"reset": 4}, "--reset 4 has no effect: none of the methods is online"),
        (["zeroshot"], {"setting": "dirichlet", "stream": {"gamma": 2}}, "--gamma 2 has no effect: none of the"),
        (["tda"], {"window": 4}, "--window 4 has no effect on method tda, which takes images one by one"),
        (["tent"], {"setting": "few-classes"}, "takes 16 images of a class for a batch of 64, and no class has more"),
    ],
)
def test_what_has_no_effect_on_the_methods_is_refused(
    tmp_path: Path, methods: list[str], overrides: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        prepare(requested(tmp_path / "run", methods, **overrides), torch.device("cpu"))
    assert caught.value.exit_code == 2
