"""Shards and streams that are left in the middle are gone on with from what was kept: the answers are the same bits."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from small_settings import NEED_SUPPORT, small_settings

from apm_tta.errors import UserError
from apm_tta.harness.compute import prepare as prepare_module
from apm_tta.harness.compute.prepare import plan, prepare
from apm_tta.harness.compute.worker import Worker
from apm_tta.harness.plan import Cell, Shard, Stream, Work, spread
from apm_tta.harness.progress.events import Event, Kept, Note
from apm_tta.harness.request.run_request import RunRequest, resolve_request
from apm_tta.harness.run import run
from apm_tta.harness.storage.checkpoints import FOLDER, Checkpoints
from apm_tta.methods import METHODS
from apm_tta.teachers import load_teacher

Answers = Callable[[Path], pa.Table]
BATCH = 2
FINGERPRINT = "f" * 64
MEASURED = ["latency_ms", "batch_ms", "peak_memory_mb"]
SETTINGS = small_settings(views=3, batch_size=BATCH)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module", autouse=True)
def one_teacher() -> Iterator[None]:
    """Load the teacher once: no state is in it, and most of the time is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare_module, "load_teacher", cache(load_teacher))
        yield


class Killed(Exception):
    """Stands for a signal that ends a worker."""


def requested(methods: Sequence[str], out: Path | None = None, **overrides: Any) -> RunRequest:
    beside = ["norm"] if "eta" in methods else []  # whatever adapts a network has it in its table
    own = {name: SETTINGS[name] for name in [*methods, *beside] if name in SETTINGS}
    given: dict[str, Any] = {
        **{"teacher": "embedded-resnet", "methods": methods, "limit": 4, "corruptions": ["contrast"]},
        **{"severities": [5], "reset": "never", "batch_size": BATCH, "settings": own, **overrides},
    }
    return resolve_request("demo", given, out=out, devices=("cpu",), quiet=True, keep_every=0)


def answer(request: RunRequest, unit: Work, store: Checkpoints | None) -> dict[Cell, pa.Table] | None:
    """Answer a unit in a worker of its own; with a store it ends when it has kept something, and None is returned."""

    def emit(event: Event) -> None:
        if isinstance(event, Kept) and store is not None:
            store.write(event)
            raise Killed

    worker = Worker(prepare(request, torch.device("cpu")), emit, FINGERPRINT)
    try:
        finished = worker.compute(unit, None, None if store is None else store.of(unit))
    except Killed:
        return None
    tables = [pq.read_table(io.BytesIO(content)) for _, content in finished.files]
    return {cell: table.drop_columns(MEASURED) for cell, table in zip(unit.cells, tables, strict=True)}


def kills_until_done(request: RunRequest, place: Path) -> list[int]:
    """Answer every unit of a run whole and in pieces, and compare; return how often the workers of each were killed."""

    def refuse(event: Event) -> None:
        raise AssertionError(event)

    kills = []
    for unit in plan(prepare(request, torch.device("cpu")))[1]:
        own = replace(request, parameters={cell.method: request.parameters[cell.method] for cell in unit.cells})
        store, count = Checkpoints(place, FINGERPRINT, refuse), 0
        while (pieces := answer(own, unit, store)) is None:
            count += 1
        assert pieces == answer(own, unit, None)
        store.remove(unit)
        assert not (place / FOLDER).exists()
        kills.append(count)
    return kills


def test_streams_are_gone_on_with_after_every_batch(tmp_path: Path) -> None:
    """No worker answers more than one batch; each builds all online methods anew."""
    online = [name for name in METHODS.names() if METHODS.get(name).protocol == "online" and name not in NEED_SUPPORT]
    assert kills_until_done(requested(online), tmp_path) == [4, 4]


@pytest.mark.parametrize(
    "overrides",
    [
        {"methods": ["eta", "lame"], "window": 3},
        {"methods": ["eta", "tda"], "reset": 3},
        {"methods": ["eta"], "reset": 4, "window": 2},
        {"methods": ["eta", "tda"], "setting": "gradual", "clean": False, "severities": [1, 2], "limit": 2},
        {"methods": ["eta"], "setting": "dirichlet", "seeds": [0, 1]},
    ],
    ids=["window", "restarts", "both", "shown several times", "an order of its own"],
)
def test_whatever_stands_between_stream_and_method_goes_on_too(overrides: dict[str, Any], tmp_path: Path) -> None:
    assert min(kills_until_done(requested(**overrides), tmp_path)) > 2


def test_shards_and_gathered_features_go_on_too(tmp_path: Path) -> None:
    kills = kills_until_done(requested(["zeroshot", "mta", "transclip"], reset=None, shard_size=3), tmp_path)
    assert kills == [2, 1, 2, 1, 2, 2]


@pytest.fixture
def left(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that begins a run, and leaves it when so many checkpoints have been written."""

    def of(request: RunRequest, checkpoints: int = 1) -> Path:
        written = Checkpoints.write
        with pytest.MonkeyPatch.context() as patch:

            def write(self: Checkpoints, kept: Kept) -> None:
                nonlocal checkpoints
                written(self, kept)
                checkpoints -= 1
                if not checkpoints:
                    raise Killed

            patch.setattr(Checkpoints, "write", write)
            with pytest.raises(UserError):
                run(request)
        assert request.out is not None
        return request.out

    return of


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return run(requested(["zeroshot", "t3a", "eta"], tmp_path_factory.mktemp("whole") / "run"))


def test_a_run_goes_on_with_another_shard_size_and_on_other_devices(
    whole: Path, left: Callable[..., Path], answers: Answers, tmp_path: Path
) -> None:
    """The stream of two methods is on two processes then: each gets its own part of what was kept."""
    folder = left(requested(["zeroshot", "t3a", "eta"], tmp_path / "run"), checkpoints=6)
    (kept,) = (folder / FOLDER).iterdir()
    index = json.loads((kept / "index.json").read_text())
    assert {name.partition("/")[2].partition("/")[0] for name in index["records"]} == {"t3a", "eta", "norm"}
    done = index["done"]
    assert 0 < done < 8
    request = requested(["zeroshot", "t3a", "eta"], folder, shard_size=3)
    run(replace(request, devices=(torch.device("cpu"),) * 2, engine="local"))
    assert answers(folder).equals(answers(whole))
    log = (folder / "run.log").read_text()
    assert log.count("stream over clean, contrast 5 (t3a):") == log.count("stream over clean, contrast 5 (eta):") > 0
    assert not (folder / FOLDER).exists()


@pytest.mark.parametrize("damaged", ["index.json", "answers-00000.parquet", "state-00001-eta.safetensors"])
def test_a_damaged_checkpoint_is_set_aside_in_one_line_and_its_stream_begins_anew(
    damaged: str, whole: Path, left: Callable[..., Path], answers: Answers, tmp_path: Path
) -> None:
    folder = left(requested(["zeroshot", "t3a", "eta"], tmp_path / "run"), checkpoints=6)
    (kept,) = (folder / FOLDER).iterdir()
    (file,) = [path for path in kept.iterdir() if path.name == damaged]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    run(requested(["zeroshot", "t3a", "eta"], folder))
    assert answers(folder).equals(answers(whole))
    (line,) = [line for line in (folder / "run.log").read_text().splitlines() if "is set aside" in line]
    assert f"{kept} cannot be gone on with (" in line
    assert damaged in line
    assert [path.name for path in (folder / FOLDER).iterdir()] == [f"{kept.name}.damaged"]


def test_a_checkpoint_of_another_run_is_refused(left: Callable[..., Path], tmp_path: Path) -> None:
    folder = left(requested(["tda"], tmp_path / "run"))
    said: list[Event] = []
    (unit,) = [each for each in plan(prepare(requested(["tda"]), torch.device("cpu")))[1] if isinstance(each, Stream)]
    assert Checkpoints(folder, "another", said.append).of(unit) is None
    (note,) = said
    assert isinstance(note, Note)
    assert "it is of another run" in note.text


def test_a_state_that_does_not_fit_its_method_is_refused(tmp_path: Path) -> None:
    """The digest is right, and the method begins otherwise: as code that was edited would."""
    request = requested(["t3a", "eta"])
    (unit,) = plan(prepare(request, torch.device("cpu")))[1]
    store = Checkpoints(tmp_path, FINGERPRINT, print)
    assert answer(request, unit, store) is None
    checkpoint = store.of(unit)
    assert checkpoint is not None
    states = sorted(name for name in checkpoint.files if name.startswith("state-"))
    swapped = dict(zip(states, [checkpoint.files[name] for name in reversed(states)], strict=True))
    said: list[Event] = []
    worker = Worker(prepare(request, torch.device("cpu")), said.append, FINGERPRINT)
    finished = worker.compute(unit, None, replace(checkpoint, files={**checkpoint.files, **swapped}))
    tables = [pq.read_table(io.BytesIO(content)).drop_columns(MEASURED) for _, content in finished.files]
    assert dict(zip(unit.cells, tables, strict=True)) == answer(request, unit, None)
    notes = [event.text for event in said if isinstance(event, Note)]
    assert "cannot be gone on with" in notes[0]
    assert notes[0].endswith("it begins anew")


def test_streams_are_spread_by_method_where_one_would_be_longer_than_a_share() -> None:
    """Three methods share a stream that is alone; with as many streams as processes each is as it was planned."""
    _, work = plan(prepare(requested(["eta", "t3a"]), torch.device("cpu")))
    assert len(work) == 1
    assert spread(work, 1) == work
    for processes in (2, 3, 5):
        alone = [{cell.method for cell in unit.cells} for unit in spread(work, processes)]
        assert sorted(name for names in alone for name in names) == ["eta", "norm", "t3a"]
        assert len(alone) == 3
    seeds = requested(["t3a", "lame"], seeds=[0, 1], reset="corruption")
    _, several = plan(prepare(seeds, torch.device("cpu")))
    assert {*spread(several, 2)} == {*several}


def test_the_longest_units_come_first_where_several_processes_share_them() -> None:
    _, work = plan(prepare(requested(["zeroshot", "tda"], shard_size=2), torch.device("cpu")))
    kinds = [type(unit) for unit in spread(work, 2)]
    assert kinds == [Stream, *[Shard] * 4]
