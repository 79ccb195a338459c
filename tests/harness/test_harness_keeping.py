"""Methods that are slow are killed at random moments: what they repeat is bounded by the time between checkpoints."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from processes import start_program

EVERY, SLEEP, BATCH, IMAGES, KILLS = 0.4, 0.03, 3, 30, 6
"""Seconds between checkpoints, seconds of an image, images in a batch and under the condition, kills."""

PROGRAM = f"""
import sys, time
from pathlib import Path
import torch
from apm_tta.harness.compute.gathered_features import GatheredFeatures
from apm_tta.harness.compute.keeping import Keeping
from apm_tta.harness.request.run_request import resolve_request
from apm_tta.harness.run import run
from apm_tta.methods import METHODS

out, log, pause = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])

def slow(asked):
    def answered(self, batch, *others):
        time.sleep(pause * len(batch))
        return asked(self, batch, *others)
    return answered

def noted(boundary):
    def note(self, images, *others):
        with log.open("a") as file:
            file.write(f"{{images}}\\n")
        boundary(self, images, *others)
    return note

torch.set_num_threads(1)
for owner, name in ((METHODS.get("zeroshot"), "predict"), (METHODS.get("tda"), "predict"), (GatheredFeatures, "add")):
    setattr(owner, name, slow(getattr(owner, name)))
Keeping.boundary = noted(Keeping.boundary)
names = ["zeroshot", "tda", "transclip"]
asked = {{"methods": names, "teacher": "embedded", "limit": {IMAGES}, "corruptions": [], "batch_size": {BATCH}}}
run(resolve_request("demo", asked, out=out, devices=("cpu",), quiet=True, keep_every={EVERY}))
"""


@pytest.mark.usefixtures("one_thread")
def test_an_episodic_an_online_and_a_transductive_method_repeat_at_most_what_was_not_kept(
    tmp_path: Path, answers: Callable[[Path], pa.Table]
) -> None:
    """Each has one unit of all images, by far longer than the time between checkpoints."""
    moments = random.Random(5)
    run, log = tmp_path / "run", tmp_path / "log"
    log.touch()

    def batches() -> list[int]:
        return [int(line) for line in log.read_text().split()]

    for _ in range(KILLS):
        until = len(batches()) + moments.randint(1, 8)
        process = start_program(PROGRAM, [str(run), str(log), str(SLEEP)])
        while len(batches()) < until and process.is_alive():
            time.sleep(0.005)
        assert process.is_alive(), "it must be killed before it ends"
        process.kill()
        process.join()
    last = start_program(PROGRAM, [str(run), str(log), str(SLEEP)])
    last.join()
    assert last.exitcode == 0
    # Of an interval, the batch that ended it, and the one in which the kill came.
    assert sum(batches()) - 3 * IMAGES <= KILLS * (EVERY / SLEEP + 2 * BATCH)
    assert not (run / "checkpoints").exists()
    assert not list(run.rglob("*.partial"))

    whole = tmp_path / "whole"
    start_program(PROGRAM, [str(whole), str(tmp_path / "other"), "0"]).join()
    assert answers(run).equals(answers(whole))
