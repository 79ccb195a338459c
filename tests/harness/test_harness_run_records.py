"""Records are those of their run, their cell and their shard, or they do not count."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from apm_tta.cli import main
from apm_tta.harness.compute.worker import Worker
from apm_tta.harness.progress.events import Finished
from apm_tta.harness.storage.manifest_file import read_manifest
from apm_tta.harness.storage.run_records import files_of_run

WORDS = [
    *("demo", "--limit", "6", "--corruptions", "contrast", "--severities", "5", "--shard-size", "4", "--quiet"),
    *("--methods", "zeroshot,tent,tda", "--device", "cpu", "--seeds", "0,1"),
]
OTHER = [word for name in ("zeroshot", "tent", "tda") for word in ("--set", f"{name}.templates=openai80")]
"""Arguments of a run whose answers are all others."""

Answers = Callable[[Path], pa.Table]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("whole") / "run"
    assert main([*WORDS, "--out", str(run)]) == 0
    return run


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function that runs a command which must end in one line, with exit code 1, and returns that line."""

    def refused(*words: object) -> str:
        capsys.readouterr()
        assert main([str(word) for word in words]) == 1
        message = capsys.readouterr().err
        assert message.startswith("run-bench: ")
        assert message.count("\n") == 1
        return message

    return refused


def recorded(run: Path) -> list[str]:
    return sorted(path.relative_to(run).as_posix() for path in run.rglob("*.parquet"))


def test_a_manifest_names_every_file_of_its_run(whole: Path) -> None:
    """Shards of episodic methods, streams of online ones."""
    named = files_of_run(read_manifest(whole).numbers)
    assert sorted(map(str, named)) == recorded(whole)
    assert {file.images for file in named.values() if file.cell.setting == "episodic"} == {4, 2}
    assert {file.images for file in named.values() if file.cell.setting == "iid"} == {6}


def test_records_of_another_run_are_refused_and_answered_again(
    tmp_path: Path, run: Path, whole: Path, answers: Answers, refusal: Callable[..., str]
) -> None:
    """Two folders copied over one another: every file is intact and has the name that is expected there."""
    other = tmp_path / "other"
    assert main([*WORDS, *OTHER, "--out", str(other)]) == 0
    shutil.copytree(other / "records", run / "records", dirs_exist_ok=True)
    assert not answers(run).equals(answers(whole))
    for words in (
        ["report", run],
        ["compare", run, whole],
        ["compare", whole, run],
        ["merge", run, "--out", tmp_path / "merged"],
    ):
        message = refusal(*words)
        assert f"{run}/records/" in message
        assert "is of another run" in message
    assert main([*WORDS, "--out", str(run)]) == 0
    assert answers(run).equals(answers(whole))
    assert (run / "run.log").read_text().count("is of another run: its numbers depend on") == len(recorded(whole))
    assert len(list(run.rglob("*.damaged"))) == len(recorded(whole))


@pytest.mark.parametrize(
    ("there", "here"),
    [
        ("zeroshot/clean/episodic-seed-0-shard-00001", "zeroshot/clean/episodic-seed-0-shard-00000"),
        ("zeroshot/contrast-5/episodic-seed-0-shard-00000", "zeroshot/clean/episodic-seed-0-shard-00000"),
        ("zeroshot/clean/episodic-seed-1-shard-00000", "zeroshot/clean/episodic-seed-0-shard-00000"),
        ("tent/clean/iid-seed-0-shard-00000", "tda/clean/iid-seed-0-shard-00000"),
    ],
)
def test_two_files_of_one_run_that_changed_places_are_refused_and_answered_again(
    there: str, here: str, run: Path, whole: Path, answers: Answers, refusal: Callable[..., str]
) -> None:
    """With their digests, so that each of them is intact."""
    for suffix in (".parquet", ".parquet.sha256"):
        a, b, between = (run / "records" / f"{name}{suffix}" for name in (there, here, "between"))
        a.rename(between)
        b.rename(a)
        between.rename(b)
    assert "holds what was recorded as records/" in refusal("report", run)
    assert main([*WORDS, "--out", str(run)]) == 0
    assert answers(run).equals(answers(whole))
    assert len(list(run.rglob("*.damaged"))) == 2


def test_a_stray_file_is_refused_before_anything_is_computed_and_the_advice_works(
    run: Path, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    """By every command, and by the same line: a copy that a viewer made, and a file that is none."""
    stray, lost = run / "records" / "x.parquet", run / "records" / "zeroshot" / "clean"
    stray.write_text("hello")
    shutil.rmtree(lost)
    for words in (["report", run], [*WORDS, "--out", run], ["merge", run, "--out", tmp_path / "merged"]):
        message = refusal(*words)
        assert f"run.yaml does not name: records/x.parquet; move them out of {run / 'records'}" in message
    assert not lost.exists()
    stray.rename(tmp_path / "x.parquet")
    assert main([*WORDS, "--out", str(run)]) == 0


def test_a_folder_that_lost_its_manifest_is_gone_on_with_by_its_own_command_alone(
    run: Path, whole: Path, answers: Answers, refusal: Callable[..., str]
) -> None:
    """As the refusal of a damaged one advises: it is written anew, and what lies there is kept."""
    manifest = (run / "run.yaml").read_bytes()
    (run / "run.yaml").write_bytes(manifest[:-100])
    assert "restore it from a copy, or move it out of the folder: the run's own command" in refusal("report", run)
    (run / "run.yaml").unlink()
    assert "has no run.yaml; the run's own command with --out writes it anew" in refusal("report", run)
    log = (run / "run.log").read_bytes()
    message = refusal(*WORDS, "--precision", "bfloat16", "--out", run)
    assert "has no run.yaml, and its records are of another run than this one" in message
    assert not (run / "run.yaml").exists()
    assert (run / "run.log").read_bytes().startswith(log)
    kept = {path: path.stat().st_mtime_ns for path in run.rglob("*.parquet")}
    assert main([*WORDS, "--out", str(run)]) == 0
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*.parquet")} == kept
    assert (run / "run.yaml").read_bytes() == manifest
    assert answers(run).equals(answers(whole))


def test_a_folder_of_something_else_gets_no_manifest(run: Path, refusal: Callable[..., str]) -> None:
    """Parquet files of another program in a folder of that name."""
    shutil.rmtree(run / "records")
    (run / "run.yaml").unlink()
    (run / "records").mkdir()
    (run / "records" / "sales.parquet").write_text("none of ours")
    assert "does not name: records/sales.parquet" in refusal(*WORDS, "--out", run)
    assert not (run / "run.yaml").exists()


def test_a_run_whose_folder_is_renamed_stops_with_one_line(
    tmp_path: Path, whole: Path, answers: Answers, monkeypatch: pytest.MonkeyPatch, refusal: Callable[..., str]
) -> None:
    """Before it records anything elsewhere; put back, it is gone on with."""
    run, away = tmp_path / "run", tmp_path / "away"
    compute = Worker.compute

    def renamed(self: Worker, *words: Any) -> Finished:
        if len(recorded(run)) >= 2:
            run.rename(away)
        return compute(self, *words)

    with monkeypatch.context() as patch:
        patch.setattr(Worker, "compute", renamed)
        assert f"{run} is gone: it was renamed or removed while the run wrote into it; put it back" in (
            refusal(*WORDS, "--out", run)
        )
    assert not recorded(run)
    shutil.rmtree(run, ignore_errors=True)
    away.rename(run)
    assert main([*WORDS, "--out", str(run)]) == 0
    assert answers(run).equals(answers(whole))
