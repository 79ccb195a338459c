"""A commit that changes a method's numbers raises its revision: checked by the answers of a tiny run of every method.

The answers are committed, not their hash: other processors round differently, which would change a hash.
``python tests/harness/test_harness_revisions.py --write`` writes them again, after a revision was raised.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_settings import NEED_BATCH_NORM
from unmeasured import unmeasured
from worker_runs import of_embedded

from apm_tta.data.dataset import open_dataset
from apm_tta.data.sample import CLEAN
from apm_tta.harness.request.run_request import resolve_request
from apm_tta.harness.run import run
from apm_tta.harness.storage.records import read_records
from apm_tta.methods import METHODS
from apm_tta.revision import ENGINE_REVISION

COMMITTED = Path(__file__).with_name("tiny_runs.json")
COMMAND = f"python tests/harness/{Path(__file__).name} --write"
SHOTS = 3
"""Labelled images per class."""

IMAGES = 5
"""Tested images, of as many classes."""

ROUNDING = 2e-3
"""Largest difference of a confidence, 0 .. 1, between processors."""

Answers = dict[str, dict[str, Any]]


def tiny_run(folder: Path) -> Answers:
    """Return the answers of every method of this package for a few corrupted images, with its revision."""
    dataset = open_dataset("fashion-mnist")
    counts = dict.fromkeys(range(len(dataset.classes)), 0)
    for entry in dataset.entries(CLEAN):
        if counts[entry.label] <= SHOTS:
            place = folder / ("support" if counts[entry.label] else "tested")
            place /= dataset.classes[entry.label].replace("/", " or ")
            place.mkdir(parents=True, exist_ok=True)
            dataset.read(entry, CLEAN).image.save(place / f"{counts[entry.label]}.png")
            counts[entry.label] += 1
    own = [name for name in METHODS.names() if METHODS.get(name).__module__.startswith("apm_tta.methods.")]
    names = [name for name in own if name not in NEED_BATCH_NORM]
    images = {"clean": False, "corruptions": ["contrast"], "severities": [3], "limit": IMAGES}
    request = resolve_request(
        "folder",
        {"teacher": "embedded", "methods": names, "shots": SHOTS, "crop_scale": (0.5, 1.0), **images},
        data_root=folder / "tested",
        support=folder / "support",
        out=folder / "run",
        devices=("cpu",),
        quiet=True,
    )
    with unmeasured(asked_alone=False):
        recorded = run(request)
    records = read_records(recorded).to_pandas().sort_values(["method", "id"])
    return {
        name: {
            "revision": METHODS.get(name).revision,
            "engine": ENGINE_REVISION,
            "predictions": own["prediction"].tolist(),
            "confidences": [round(float(value), 5) for value in own["confidence"]],
        }
        for name, own in records.groupby("method", observed=True)
    }


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    return tiny_run(tmp_path_factory.mktemp("tiny"))


def verdict(committed: dict[str, Any] | None, current: dict[str, Any]) -> str:
    """Return what a maintainer has to do; empty for nothing."""
    if committed is None:
        return f"it is new: {COMMAND}"
    same = committed["predictions"] == current["predictions"] and np.allclose(
        committed["confidences"], current["confidences"], rtol=0, atol=ROUNDING
    )
    revised = any(committed[key] != current[key] for key in ("revision", "engine"))
    if same and not revised:
        return ""
    if not revised:
        return "its numbers changed: raise its revision (or ENGINE_REVISION, where methods share the cause)"
    return f"its revision was raised: {COMMAND}"


@pytest.mark.parametrize("name", of_embedded())
def test_numbers_change_only_with_a_revision(name: str, answers: Answers) -> None:
    committed = json.loads(COMMITTED.read_text(encoding="utf-8"))
    assert verdict(committed.get(name), answers[name]) == "", name


def test_the_committed_answers_are_those_of_the_existing_methods(answers: Answers) -> None:
    assert json.loads(COMMITTED.read_text(encoding="utf-8")).keys() == answers.keys()


def test_a_change_is_detected_with_and_without_a_revision(answers: Answers) -> None:
    """The check itself can fail: on a shifted confidence, another prediction, or a raised revision."""
    current = answers["zeroshot"]
    shifted = {**current, "confidences": [value + 2 * ROUNDING for value in current["confidences"]]}
    other = {**current, "predictions": [current["predictions"][0] + 1, *current["predictions"][1:]]}
    assert verdict(current, current) == ""
    assert "raise its revision" in verdict(shifted, current)
    assert "raise its revision" in verdict(other, current)
    assert COMMAND in verdict({**current, "revision": 0}, current)
    assert COMMAND in verdict({**shifted, "engine": 0}, current)
    assert COMMAND in verdict(None, current)


if __name__ == "__main__" and sys.argv[1:] == ["--write"]:
    with tempfile.TemporaryDirectory() as work:
        lines = [f"{json.dumps(name)}: {json.dumps(own)}" for name, own in tiny_run(Path(work)).items()]
        COMMITTED.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
