"""Variants of a method as rows of one run: recorded, shared, resumed and merged as if each were a method of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
import torch

import apm_tta
from apm_tta import UserError
from apm_tta.api.run import resolve
from apm_tta.cli import main
from apm_tta.harness.compute.prepare import Prepared, plan, prepare
from apm_tta.harness.compute.worker import Worker
from apm_tta.harness.storage.manifest_file import read_manifest
from apm_tta.teachers import Teacher

OPTIONS = {
    **{"limit": 6, "shard_size": 3, "corruptions": ["contrast"], "severities": [5], "clean": False},
    **{"devices": "cpu", "quiet": True},
}
SETTINGS = {"apm": {"iterations": 2, "views": 2}, "mta": {"views": 2}}
ROWS = ["zeroshot", "apm", "apm[iterations=3]", "apm[target=mta]", "tda[positive_alpha=1]"]
TIMES = ["latency_ms", "batch_ms", "peak_memory_mb"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> apm_tta.Run:
    out = tmp_path_factory.mktemp("variants") / "run"
    return apm_tta.run("demo", methods=ROWS, settings=SETTINGS, out=out, **OPTIONS)


def answers(run: apm_tta.Run, row: str) -> pd.DataFrame:
    return run.answers(method=row).drop(columns=[*TIMES, "method"])


@pytest.mark.parametrize(
    ("row", "settings"),
    [
        ("apm[iterations=3]", {"apm": {"iterations": 3, "views": 2}}),
        ("apm[target=mta]", {"apm": {"target": "mta", "iterations": 2, "views": 2}, "mta": {"views": 2}}),
        ("tda[positive_alpha=1]", {"tda": {"positive_alpha": 1.0}}),
    ],
)
def test_a_variant_is_recorded_as_the_method_by_itself_under_these_settings(
    run: apm_tta.Run, tmp_path: Path, row: str, settings: dict[str, dict[str, object]]
) -> None:
    method = row.partition("[")[0]
    alone = apm_tta.run("demo", methods=[method], settings=settings, out=tmp_path / "alone", **OPTIONS)
    pd.testing.assert_frame_equal(answers(run, row), answers(alone, method))
    assert alone.manifest.numbers.methods[method] == run.manifest.numbers.methods[row]


def test_every_row_has_its_name_in_manifest_records_and_tables(run: apm_tta.Run) -> None:
    rows = [*ROWS, "mta"]  # which apm[target=mta] requires beside it
    assert list(run.manifest.numbers.methods) == rows
    assert list(run.results["method"]) == rows
    assert list(run.answers()["method"].unique()) == rows
    for file in ("results.csv", "results.md", "report.html"):
        assert "iterations=3" in (run.folder / file).read_text()
    assert "| apm[iterations=3] " in (run.folder / "results.md").read_text()
    assert "apm[iterations=3]" in (run.folder / "results.tex").read_text()
    folders = sorted(path.name for path in (run.folder / "records").iterdir())
    assert [name.partition("+")[0] for name in folders] == ["apm", "apm", "apm", "mta", "tda", "zeroshot"]
    assert not any(set(name) & set("[]=, ") for name in folders)
    revisions = run.manifest.numbers.revisions
    assert sorted(revisions.methods) == ["apm", "mta", "tda", "zeroshot"]


def test_the_command_that_the_run_states_makes_the_same_run(run: apm_tta.Run) -> None:
    words = list(run.manifest.command)
    request = resolve("demo", {"methods": words[words.index("--methods") + 1], "settings": SETTINGS, **OPTIONS})
    assert request.suite.methods == tuple(ROWS)
    again = run.answers(method="tda[positive_alpha=1.0], apm[iterations = 3]")
    assert set(again["method"]) == {"tda[positive_alpha=1]", "apm[iterations=3]"}


def test_a_variant_is_loaded_as_the_run_had_it(run: apm_tta.Run) -> None:
    from apm_tta.data.dataset import open_dataset
    from apm_tta.data.sample import parse_condition

    method = run.load_method("apm[iterations=3]", device="cpu")
    assert method.method.parameters.iterations == 3
    recorded = run.answers(method="apm[iterations=3]")
    dataset, condition = open_dataset("fashion-mnist", limit=6), parse_condition(run.manifest.numbers.conditions[0])
    entries = [entry for entry in dataset.entries(condition) if entry.id in set(recorded["id"])]
    predicted = method([dataset.read(entry, condition).image for entry in entries], [entry.id for entry in entries])
    assert list(predicted.table["prediction"]) == list(recorded["prediction"])


def prepared(*rows: str, **settings: dict[str, object]) -> Prepared:
    return prepare(resolve("demo", {**OPTIONS, "methods": list(rows), "settings": settings}), torch.device("cpu"))


def test_what_variants_share_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The encoder sees the images and their views once, however many rows use them; measured alone it is asked anew."""

    def encoded(*rows: str) -> int:
        settings = {"apm": {"iterations": 1, "views": 3}, "mta": {"views": 3}}
        named = {row.partition("[")[0] for row in rows}
        made, seen = prepared(*rows, **{name: own for name, own in settings.items() if name in named}), 0
        encode = made.teacher.encode_image

        def count(_teacher: Teacher, pixels: torch.Tensor) -> torch.Tensor:
            nonlocal seen
            seen += len(pixels)
            return encode(pixels)

        worker = Worker(made, lambda _event: None, fingerprint="")
        worker._checked = {cell for unit in plan(made)[1] for cell in unit.cells}  # nothing is asked alone
        with monkeypatch.context() as patch:
            patch.setattr(type(made.teacher), "encode_image", count)
            for unit in plan(made)[1]:
                if unit.index:  # the first shard measures single images
                    worker.compute(unit)
        worker.close()
        return seen

    images, views = 3, 3
    one = encoded("mta")
    assert one == images * views
    assert encoded("mta", "apm[target=mta]", "apm", "apm[iterations=2]", "apm[iterations=2,target=mta]") == one


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ("apm[iteration=3]", "unknown key of method apm 'iteration'; there are: column, "),
        ("apm[iterations=-1]", "method apm: iterations: "),
        ("apm[iterations=many]", "method apm: iterations: "),
        ("ampere[a=1]", "unknown method 'ampere'; there are: "),
        ("apm[iterations=3],apm[ iterations=3.0 ]", "methods: names something twice"),
        ("apm,apm[target=view0]", "apm and apm[target=view0] are one and the same: all of their parameters are equal"),
        ("apm,apm[iterations=20]", "apm and apm[iterations=20] are one and the same: all of their parameters are"),
        ("apm[]", "'apm[]' is not of the form apm[key=value,...]"),
    ],
)
def test_a_wrong_variant_is_refused_in_one_line(
    methods: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["demo", "--limit", "2", "--quiet", "--device", "cpu", "--out", str(tmp_path / "run")]
    assert main([*words, "--methods", methods]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.strip().splitlines()) == 1


def test_settings_of_the_method_are_the_base_of_its_variants() -> None:
    request = resolve("demo", {"methods": "apm,apm[views=3]", "settings": {"apm": {"iterations": 7, "views": 5}}})
    assert [(own.iterations, own.views) for own in request.parameters.values()] == [(7, 5), (7, 3)]
    with pytest.raises(UserError, match=r"^--set mta\.KEY has no effect: the methods are apm\[views=3\]$"):
        resolve("demo", {"methods": "apm[views=3]", "settings": {"mta": {"views": 5}}})
    with pytest.raises(UserError, match=r"^unknown method 'apm\[views=3\]'"):
        resolve("demo", {"methods": "apm[views=3]", "settings": {"apm[views=3]": {"views": 5}}})


def test_variants_stand_beside_all_methods() -> None:
    request = resolve("demo", {"methods": "apm[target=vte],fast"})
    assert request.every_method == "fast"
    assert request.suite.methods[-1] == "apm[target=vte]"
    words = request.command()
    assert words[words.index("--methods") + 1] == "fast,apm[target=vte]"


def test_parts_of_a_run_are_resumed_and_merged(
    run: apm_tta.Run, tmp_path: Path, answers: Callable[[Path], pa.Table]
) -> None:
    """The second part is begun, loses a shard as if it had been killed, and is resumed under another spelling."""
    first, second, merged = (tmp_path / name for name in ("first", "second", "merged"))
    given = {"settings": SETTINGS, **OPTIONS}
    apm_tta.run("demo", methods=ROWS, shard_range="1/2", out=first, **given)
    apm_tta.run("demo", methods=ROWS, shard_range="2/2", out=second, **given)
    for path in sorted(second.glob("records/apm+*/**/*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    spelt = [row.replace("[", "[ ").replace("=", " = ") for row in ROWS]
    apm_tta.run("demo", methods=spelt, shard_range="2/2", out=second, **given)
    whole = apm_tta.merge([first, second], merged)
    assert answers(whole.folder).equals(answers(run.folder))
    assert read_manifest(merged).numbers == run.manifest.numbers
