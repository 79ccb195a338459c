"""Images that cannot be read when a run begins: each kind is told, the rest is answered, and the same command goes on.

Where an image cannot be reached, the reading fails for real: the first byte of a process's own memory gives EIO.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from apm_tta.cli import main
from apm_tta.data.dataset import open_dataset
from apm_tta.data.image_files import patience
from apm_tta.data.sample import CLEAN
from apm_tta.harness.storage.records import read_records

Run = Callable[..., int]
Answers = Callable[[Path], pa.Table]
UNREACHABLE = Path("/proc/self/mem")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again without waiting."""
    monkeypatch.setattr(patience, "LONGEST_S", 0.0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a set of two classes with four images each."""
    folder = tmp_path_factory.mktemp("unread") / "set"
    dataset = open_dataset("fashion-mnist")
    for name, label in (("Trouser", 1), ("Bag", 8)):
        (folder / name).mkdir(parents=True)
        entries = [entry for entry in dataset.entries(CLEAN) if entry.label == label][:4]
        for number, entry in enumerate(entries):
            dataset.read(entry, CLEAN).image.save(folder / name / f"{number}.png")
    return folder


@pytest.fixture
def images(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "set"))


@pytest.fixture(scope="module")
def fresh(whole: Path) -> Path:
    """Run over the whole set."""
    out = whole.parent / "fresh"
    words = ["folder", "--teacher", "embedded", "--methods", "zeroshot,tda", "--quiet", "--data-root", str(whole)]
    assert main([*words, "--out", str(out)]) == 0
    return out


@pytest.fixture
def run(images: Path, tmp_path: Path) -> Run:
    def start(out: str, *words: str, methods: str = "zeroshot,tda") -> int:
        fixed = ["folder", "--teacher", "embedded", "--methods", methods, "--quiet"]
        return main([*fixed, "--data-root", str(images), "--out", str(tmp_path / out), *words])

    return start


def _spoil(path: Path, kind: str) -> None:
    content = path.read_bytes()
    path.unlink()
    if kind == "unreachable":
        path.symlink_to(UNREACHABLE)
    elif kind == "damaged":
        path.write_bytes(content[:-40])
    elif kind == "unsupported":
        path.write_bytes(b"\x00\x01\x02\xff" * 20)
    else:
        Image.new("1", (60000, 1)).save(path)


def _kinds(out: Path) -> dict[str, str]:
    with (out / "errors.csv").open(encoding="utf-8") as file:
        return {row["id"]: row["kind"] for row in csv.DictReader(file)}


@pytest.mark.parametrize("kind", ["unreachable", "damaged"])
def test_the_same_command_answers_what_was_repaired_and_keeps_the_rest(
    kind: str,
    run: Run,
    images: Path,
    whole: Path,
    tmp_path: Path,
    fresh: Path,
    answers: Answers,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A method whose answers are each on their own keeps all other rows, times included; a stream is as a fresh one."""
    spoilt = images / "Bag" / "1.png"
    _spoil(spoilt, kind)
    assert run("run") == 3
    out = tmp_path / "run"
    assert _kinds(out) == {"Bag/1.png": kind}
    said = capsys.readouterr().err
    assert f"2 answers are missing: images could not be read (1 {kind})" in said
    assert f"then rerun the same command with --out {out} to resume" in said
    before = _rows(out, "zeroshot")
    files = {path: path.read_bytes() for path in (out / "records").rglob("*.parquet")}
    assert main(["compare", str(fresh), str(out)]) == 0
    assert "could not be read in one of them: Bag/1.png" in capsys.readouterr().out
    assert run("run") == 3
    assert {path: path.read_bytes() for path in files} == files, "nothing is written where nothing was repaired"

    spoilt.unlink()
    shutil.copy(whole / "Bag" / "1.png", spoilt)
    assert run("run", "--workers", "1" if kind == "damaged" else "0") == 0
    assert "not shown" not in (out / "report.html").read_text(encoding="utf-8"), "it was answered"
    after = _rows(out, "zeroshot")
    assert after.pop("Bag/1.png")["error"] is None
    assert before.pop("Bag/1.png")["error"] is not None
    assert after == before
    assert main(["compare", str(fresh), str(out)]) == 0
    assert "nothing that decides a number" in capsys.readouterr().out
    columns = ["method", "id", "prediction", "error", "error_kind"]
    assert answers(out).select(columns).equals(answers(fresh).select(columns))

    files = {path: path.read_bytes() for path in (out / "records").rglob("*.parquet")}
    assert run("run") == 0
    assert {path: path.read_bytes() for path in files} == files
    shutil.copy(whole / "Bag" / "2.png", spoilt)
    capsys.readouterr()
    assert run("run") == 1
    assert "has answers to other contents of images that were repaired: Bag/1.png; restore" in capsys.readouterr().err


def test_every_kind_has_its_row(run: Run, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kinds = ["unreachable", "damaged", "too large", "unsupported"]
    for number, kind in enumerate(kinds):
        _spoil(images / "Bag" / f"{number}.png", kind)
    assert run("run", methods="zeroshot") == 3
    assert _kinds(tmp_path / "run") == {f"Bag/{number}.png": kind for number, kind in enumerate(kinds)}
    said = capsys.readouterr().err
    assert "(1 unreachable, 1 damaged, 1 too large, 1 unsupported)" in said
    assert said.count("\n") == 1


def test_an_answered_image_that_changed_beside_a_repaired_one_is_refused(
    run: Run, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = (images / "Bag" / "1.png").read_bytes()
    _spoil(images / "Bag" / "1.png", "damaged")
    assert run("run", methods="zeroshot") == 3
    (images / "Bag" / "1.png").write_bytes(content)
    shutil.copy(images / "Bag" / "3.png", images / "Bag" / "2.png")
    capsys.readouterr()
    assert run("run", methods="zeroshot") == 1
    assert "(other content under the same name: Bag/2.png)" in capsys.readouterr().err


def test_a_stream_of_which_only_some_files_were_replaced_is_answered_again(
    run: Run, images: Path, whole: Path, tmp_path: Path, answers: Answers
) -> None:
    """As after a kill: a file without an error of its own belongs to a stream with another image in it."""
    words = ["--corruptions", "contrast", "--severities", "5", "--setting", "continual", "--jpeg-quality", "none"]
    assert run("fresh", *words, methods="tda") == 0
    _spoil(images / "Bag" / "1.png", "unreachable")
    assert run("run", *words, methods="tda") == 3
    records = sorted((tmp_path / "run" / "records").rglob("*.parquet"))
    assert len(records) == 2
    former = {path: path.read_bytes() for each in records for path in (each, each.with_name(f"{each.name}.sha256"))}
    (images / "Bag" / "1.png").unlink()
    shutil.copy(whole / "Bag" / "1.png", images / "Bag" / "1.png")
    assert run("run", *words, methods="tda") == 0
    for path in list(former)[:2]:
        path.write_bytes(former[path])
    assert run("run", *words, methods="tda") == 0
    columns = ["corruption", "id", "prediction", "confidence", "error"]
    assert answers(tmp_path / "run").select(columns).equals(answers(tmp_path / "fresh").select(columns))


def test_too_many_images_in_a_row_that_cannot_be_reached_end_the_run(
    run: Run, images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(patience, "MOST_IN_A_ROW", 4)
    for number in range(4):
        _spoil(images / "Bag" / f"{number}.png", "unreachable")
    assert run("run", methods="zeroshot") == 1
    said = capsys.readouterr().err
    assert "4 images in a row could not be read, the last of them: " in said
    assert "Input/output error); see that they can be read, then run the same command again" in said
    assert said.count("\n") == 1


def test_parts_of_which_one_could_not_read_an_image_are_merged(
    run: Run, images: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The row stays without an answer where it was; an image that truly differs is still refused."""
    words = ["--shard-size", "4"]
    _spoil(images / "Bag" / "1.png", "unreachable")
    assert run("first", *words, "--shard-range", "1/2", methods="zeroshot") == 0
    (images / "Bag" / "1.png").unlink()
    shutil.copy(whole / "Bag" / "1.png", images / "Bag" / "1.png")
    assert run("second", *words, "--shard-range", "2/2", methods="zeroshot") == 0
    parts = [str(tmp_path / "first"), str(tmp_path / "second")]
    assert main(["merge", *parts, "--out", str(tmp_path / "merged")]) == 0
    assert read_records(tmp_path / "merged")["error"].null_count == 7
    assert run("merged", *words, methods="zeroshot") == 0
    assert read_records(tmp_path / "merged")["error"].null_count == 8

    shutil.copy(whole / "Bag" / "2.png", images / "Trouser" / "3.png")
    assert run("third", *words, "--shard-range", "2/2", methods="zeroshot") == 0
    capsys.readouterr()
    assert main(["merge", parts[0], str(tmp_path / "third"), "--out", str(tmp_path / "other")]) == 1
    assert "other content under the same name: Trouser/3.png" in capsys.readouterr().err


def _rows(out: Path, method: str) -> dict[str, dict[str, object]]:
    rows = read_records(out).to_pylist()
    return {row["id"]: row for row in rows if row["method"] == method}
