"""Whatever happens to a file of a finished run or of the cache: a number stays what it was, or a line refuses it."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest
from fuzz import fuzzed
from hypothesis import given
from hypothesis import strategies as st

from apm_tta.cli import main
from apm_tta.columns import TIMINGS

WORDS = [
    *("demo", "--limit", "8", "--corruptions", "contrast", "--severities", "5", "--shard-size", "5", "--device", "cpu"),
    *("--methods", "zeroshot,tda", "--feature-cache", "--quiet"),
]
Damage = Callable[[Sequence[Path], int, int], None]


def flip(files: Sequence[Path], choice: int, place: int) -> None:
    """Flip one bit."""
    path = files[choice % len(files)]
    content = bytearray(path.read_bytes())
    if content:
        content[place // 8 % len(content)] ^= 1 << place % 8
    path.write_bytes(content)


def truncate(files: Sequence[Path], choice: int, place: int) -> None:
    path = files[choice % len(files)]
    content = path.read_bytes()
    path.write_bytes(content[: place % (len(content) + 1)])


def delete(files: Sequence[Path], choice: int, _: int) -> None:
    files[choice % len(files)].unlink()


def swap(files: Sequence[Path], choice: int, other: int) -> None:
    """Swap two files of one kind, each under the other's name."""
    path = files[choice % len(files)]
    alike = [file for file in files if file.suffix == path.suffix]
    second = alike[other % len(alike)]
    contents = path.read_bytes(), second.read_bytes()
    path.write_bytes(contents[1])
    second.write_bytes(contents[0])


def swap_with_digests(files: Sequence[Path], choice: int, other: int) -> None:
    """Swap two files of records together with their digests, so that each of them is intact."""
    records = [file for file in files if file.suffix == ".parquet"]
    if records:
        pair = records[choice % len(records)], records[other % len(records)]
        for suffix in ("", ".sha256"):
            swap([Path(f"{file}{suffix}") for file in pair], 0, 1)


def duplicate(files: Sequence[Path], choice: int, other: int) -> None:
    """Copy a file over another one, or beside it under a new name."""
    path = files[choice % len(files)]
    beside = path.with_name(f"copy-of-{path.name}")
    shutil.copy(
        path, beside if other % 2 else files[other % len(files)] if files[other % len(files)] != path else beside
    )


def become(make: Callable[[Path], object]) -> Damage:
    """Replace a file by something else."""

    def damage(files: Sequence[Path], choice: int, _: int) -> None:
        path = files[choice % len(files)]
        path.unlink()
        make(path)

    return damage


ANOTHER = [
    become(Path.touch),
    become(Path.mkdir),
    become(os.mkfifo),
    become(lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))),
    become(lambda path: path.write_text("{}\n")),
    become(lambda path: path.write_text("numbers: &a [*a]\n")),
    become(lambda path: path.symlink_to(path.name)),
    become(lambda path: path.symlink_to("nowhere")),
]
KINDS = [flip, truncate, delete, swap, swap_with_digests, duplicate, *ANOTHER]


def numbers(run: Path) -> pd.DataFrame:
    """Return the numbers of a run's table, without what is measured on it: not where features come from the cache."""
    return pd.read_csv(run / "results.csv").drop(columns=[*TIMINGS, "times_disturbed", "gflop_per_image"])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with a finished run, and the cache that it filled."""
    folder = tmp_path_factory.mktemp("damage")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("APM_TTA_CACHE", str(folder / "cache"))
        assert main([*WORDS, "--out", str(folder / "run")]) == 0
    return folder


def ends_well(whole: Path, folder: Path) -> None:
    """Report, merge and resume: each leaves the numbers as they were, or ends with 1 and one line."""
    expected, run = numbers(whole / "run"), folder / "run"
    for words in (["report", run], ["merge", run, "--out", folder / "merged"], [*WORDS, "--out", run]):
        (run / "results.csv").unlink(missing_ok=True)
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as said:
            code = main([str(word) for word in words])
        if code == 0:
            where = folder / "merged" if words[0] == "merge" else run
            pd.testing.assert_frame_equal(numbers(where), expected)
        else:
            assert code == 1, said.getvalue()
            assert_one_line(said.getvalue())


def assert_one_line(said: str) -> None:
    """Hold standard error to one line, after notes that are not of an error."""
    assert said.startswith("run-bench: ")
    assert said.count("\n") == 1
    assert "unexpected" not in said


@fuzzed(8)
@given(
    place=st.sampled_from(["run", "run", "cache"]),
    damages=st.lists(
        st.tuples(
            st.sampled_from(KINDS),
            st.integers(0, 1000),
            st.integers(0, 10**6),
        ),
        min_size=1,
        max_size=2,
    ),
)
def test_no_damage_to_a_finished_run_or_its_cache_changes_a_number(
    whole: Path, place: str, damages: list[tuple[Damage, int, int]]
) -> None:
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        shutil.copytree(whole, folder, dirs_exist_ok=True)
        patch.setenv("APM_TTA_CACHE", str(folder / "cache"))
        if place == "cache":
            shutil.rmtree(folder / "run" / "records" / "zeroshot")
        for damage, choice, other in damages:
            files = sorted(path for path in (folder / place).rglob("*") if path.is_file())
            damage(files, choice, other)
        ends_well(whole, folder)
