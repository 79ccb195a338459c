"""Files of a run folder that are not what the run wrote: damaged, of others, or gone; the advice given helps."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from processes import run_program

from apm_tta.cli import main
from apm_tta.harness.storage.manifest_file import read_manifest

WORDS = [
    *("demo", "--limit", "8", "--corruptions", "", "--shard-size", "5", "--device", "cpu", "--quiet"),
    *("--methods", "zeroshot,vte", "--set", "vte.views=2"),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("foreign") / "run"
    assert main([*WORDS, "--out", str(run)]) == 0
    return run


@pytest.fixture
def run(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    capsys.readouterr()
    return Path(shutil.copytree(whole, tmp_path / "run"))


def refusal(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda path: path.write_text("hello"), id="a viewer's copy"),
        pytest.param(lambda path: path.mkdir(), id="a folder"),
        pytest.param(os.mkfifo, id="a pipe"),
    ],
)
def test_a_stray_file_among_the_records_is_moved_out_as_advised(
    make: Callable[[Path], None], run: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stray = run / "records" / "x.parquet"
    make(stray)
    for words in (["report", str(run)], [*WORDS, "--out", str(run)], ["merge", str(run), "--out", f"{run}-merged"]):
        said = refusal(words, capsys)
        assert f"records that its run.yaml does not name: records/x.parquet; move them out of {run / 'records'}" in said
    stray.rename(run.parent / "x.parquet")
    assert main([*WORDS, "--out", str(run)]) == 0
    assert (run / "results.csv").read_bytes() == (whole / "results.csv").read_bytes()


@pytest.mark.parametrize("suffix", ["", ".sha256"])
@pytest.mark.parametrize("kind", ["folder", "pipe", "empty", "bytes"])
def test_a_record_or_its_digest_that_became_something_else_is_answered_again(
    suffix: str, kind: str, run: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = sorted(run.rglob("*.parquet"))[0]
    changed = record.with_name(record.name + suffix)
    changed.unlink()
    make = {"folder": Path.mkdir, "pipe": os.mkfifo, "empty": Path.touch}
    make.get(kind, lambda path: path.write_bytes(b"\xff\xfe\x00"))(changed)
    said = refusal(["report", str(run)], capsys)
    assert f"{record} is damaged" in said
    assert "rerunning the run's own command with --out sets it aside and answers its images again" in said
    assert main([*WORDS, "--out", str(run)]) == 0
    columns = ["method", "corruption", "top1", "top5", "agreement"]
    tables = [pd.read_csv(folder / "results.csv")[columns] for folder in (run, whole)]
    pd.testing.assert_frame_equal(*tables)


def test_a_manifest_whose_keys_were_sorted_is_refused_since_rows_would_change_places(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tool that loads and saves YAML sorts keys; the methods' order is the table's. The advice brings it back."""
    path = run / "run.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    methods = list(read_manifest(run).numbers.methods)
    path.write_text(yaml.safe_dump(content, sort_keys=True), encoding="utf-8")
    said = refusal(["report", str(run)], capsys)
    assert "its keys are in another order than the run wrote them" in said
    content["numbers"]["methods"] = dict(reversed(content["numbers"]["methods"].items()))
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    assert "another order" in refusal(["report", str(run)], capsys)
    path.rename(run.parent / "away.yaml")
    assert main([*WORDS, "--out", str(run)]) == 0
    assert list(read_manifest(run).numbers.methods) == methods


REPORT = """
import ctypes
from apm_tta.cli import console

libc, header, sets = ctypes.CDLL(None), (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert libc.capget(header, sets) == 0
sets[0] &= ~2  # of what is in effect, the right to pass over permissions (CAP_DAC_OVERRIDE)
assert libc.capset(header, sets) == 0
console()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="root lays its right down by a call of Linux")
def test_the_report_of_a_run_that_may_only_be_read_is_printed(run: Path, whole: Path) -> None:
    """Root may write anywhere unless it lays that right down."""
    for path in (run, *run.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    ended = run_program(REPORT, ["report", str(run)])
    code, out, said = ended.returncode, ended.stdout, ended.stderr
    assert code == 0, said
    assert out.strip() == (whole / "results.md").read_text(encoding="utf-8").strip()
    assert "the tables are printed and not written: " in said
    assert "Permission denied" in said
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
