"""Reports of runs that lie in an archive or on an object store: the same tables, and nothing is written there."""

from __future__ import annotations

import io
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from apm_tta.cli import main
from apm_tta.report.run_places import local_run

STORE = "memory://runs/hand"


@pytest.fixture
def store(whole_run: Path) -> Iterator[str]:
    """Put the run onto an object store in memory."""
    files = fsspec.filesystem("memory")
    files.put(str(whole_run), STORE.removeprefix("memory:/"), recursive=True)
    yield STORE
    files.rm("/runs", recursive=True)


def archive(run: Path, path: Path) -> str:
    """Pack a run folder, below a folder of its own as whoever packs one would."""
    kind = "zip" if path.suffix == ".zip" else "gztar"
    return shutil.make_archive(str(path.with_suffix("")).removesuffix(".tar"), kind, run.parent, run.name)


@pytest.fixture(params=["store", "run.zip", "run.tar.gz"])
def place(request: pytest.FixtureRequest, whole_run: Path, tmp_path: Path) -> str:
    if request.param == "store":
        found: str = request.getfixturevalue("store")
        return found
    return archive(whole_run, tmp_path / request.param)


def test_the_report_is_that_of_the_folder(
    place: str, run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(run_folder)]) == 0
    expected = capsys.readouterr().out
    out = tmp_path / "out"
    assert main(["report", place, "--out", str(out)]) == 0
    assert capsys.readouterr().out.replace(place, str(run_folder)) == expected
    for name in ("results.csv", "iterations.csv", "report.html"):
        assert (out / name).is_file()
    assert (out / "results.csv").read_bytes() == (run_folder / "results.csv").read_bytes()
    assert main(["report", place]) == 0
    assert f"nothing is written into {place}; --out FOLDER takes the report" in capsys.readouterr().err


def test_runs_are_compared_wherever_they_lie(place: str, run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(run_folder), str(run_folder)]) == 0
    expected = capsys.readouterr().out
    assert main(["compare", place, str(run_folder)]) == 0
    assert capsys.readouterr().out.replace(place, str(run_folder)) == expected


def test_only_what_is_read_is_copied_and_nothing_stays(store: str) -> None:
    files = fsspec.filesystem("memory")
    files.pipe("/runs/hand/checkpoint.bin", b"large")
    with local_run(store) as run:
        assert run.copied
        assert {path.name for path in run.folder.iterdir()} == {"run.yaml", "records"}
        folder = run.folder
    assert not folder.exists()


def test_a_damaged_record_is_named_where_it_lies(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    files = fsspec.filesystem("memory")
    name = next(each for each in files.find("/runs/hand/records") if each.endswith(".parquet"))
    files.pipe(name, files.cat(name)[:-1])
    assert main(["report", store]) == 1
    assert f"{STORE}/records/" in (said := capsys.readouterr().err)
    assert "is damaged" in said


def test_what_holds_no_run_is_refused(tmp_path: Path, store: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing, two runs, a store that nobody knows; a member of an archive that would lie outside is left out."""
    assert main(["report", "memory://nowhere"]) == 1
    assert "memory://nowhere holds no run folder" in capsys.readouterr().err
    damaged = tmp_path / "run.zip"
    damaged.write_bytes(b"no archive")
    assert main(["report", str(damaged)]) == 1
    assert (
        "run.zip is neither a run folder nor an archive of one (zip, tar), or its beginning" in capsys.readouterr().err
    )
    files = fsspec.filesystem("memory")
    files.pipe("/runs/other/run.yaml", b"")
    assert main(["report", "memory://runs"]) == 1
    assert "memory://runs holds 2 run folders; name one of them" in capsys.readouterr().err
    assert main(["report", "nothing-like-that://runs"]) == 1
    assert "nothing-like-that://runs cannot be read" in capsys.readouterr().err
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as packed:
        packed.writestr("run.yaml", "")
        packed.writestr("records/../../outside.parquet", "")
    with local_run(str(tmp_path / "evil.zip")) as run:
        assert [path.name for path in run.folder.rglob("*")] == ["run.yaml"]
    with tarfile.open(tmp_path / "empty.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("nothing"), io.BytesIO())
    assert main(["compare", str(tmp_path / "empty.tar"), store]) == 1
    assert "holds no run folder" in capsys.readouterr().err
