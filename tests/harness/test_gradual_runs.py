"""A run whose stream shows conditions several times: recorded, killed, gone on with, merged, compared and reported."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

import apm_tta
from apm_tta.errors import UserError
from apm_tta.harness.storage.merge import merge
from apm_tta.harness.storage.records import decode_records, encode_table, read_content, read_records, write_content

LOOKS_AT_COSTS = True

LIMIT = 20
PASSES = {1: 2, 3: 2, 5: 1}
OPTIONS = {
    "methods": "zeroshot,tda",
    "setting": "gradual",
    "limit": LIMIT,
    "corruptions": "contrast,pixelate",
    "severities": "1,3,5",
    "quiet": True,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return apm_tta.run("demo", out=tmp_path_factory.mktemp("gradual") / "run", **OPTIONS).folder  # type: ignore[arg-type]


def test_equal_images_are_recorded_under_distinct_keys(whole: Path) -> None:
    table = read_records(whole).to_pandas()
    online, episodic = table[table["method"] == "tda"], table[table["method"] == "zeroshot"]
    assert episodic["position"].isna().all()
    counts = online.groupby(["corruption", "severity"], observed=True).size().to_dict()
    shown = {(name, severity): LIMIT * count for name in ("contrast", "pixelate") for severity, count in PASSES.items()}
    assert counts == {("clean", 0): LIMIT, **shown}
    assert sorted(online["position"]) == list(range(LIMIT * 11)), "one stream: clean, then twice five passes"
    again = online[online["severity"].isin([1, 3])].groupby(["corruption", "severity", "id"], observed=True).size()
    assert (again == 2).all()


def test_the_report_draws_images_with_all_of_their_showings(whole: Path) -> None:
    results = pd.read_csv(whole / "results.csv")
    online = results[results["method"] == "tda"].set_index(["corruption", "severity"])
    assert online.loc[("contrast", 3), "n"] == 2 * LIMIT
    assert (online["images"] == LIMIT).all()
    assert online["delta_zeroshot"].notna().all()
    assert results[results["method"] == "zeroshot"]["images"].isna().all()
    text = (whole / "results.md").read_text(encoding="utf-8")
    assert "gradual streams, which show images several times, reset: never" in text
    assert "different images" in text
    assert "Images were shown several times: n counts showings" in text


def test_a_stream_that_lost_a_file_is_answered_again_alike(
    whole: Path, tmp_path: Path, answers: Callable[[Path], pa.Table]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    before = answers(run)
    next((run / "records" / "tda" / "contrast-3").glob("*.parquet")).unlink()
    (run / "records" / "tda" / "contrast-3" / "killed.partial").write_bytes(b"half")
    apm_tta.run("demo", out=run, **OPTIONS)  # type: ignore[arg-type]
    assert answers(run).equals(before)


def test_a_run_that_is_killed_in_its_stream_ends_as_if_it_had_not_been(
    whole: Path,
    tmp_path: Path,
    start: Callable[[list[str]], BaseProcess],
    answers: Callable[[Path], pa.Table],
) -> None:
    run = tmp_path / "run"
    words = [word for name, value in OPTIONS.items() if name != "quiet" for word in (f"--{name}", str(value))]
    process = start(["demo", "--quiet", *words, "--out", str(run)])
    while len(list(run.glob("records/zeroshot/**/*.parquet"))) < 7 and process.is_alive():
        time.sleep(0.002)
    process.kill()
    process.join()
    assert process.exitcode == -9
    assert not list(run.glob("records/tda/**/*.parquet")), "the stream comes last, and whole"
    apm_tta.run("demo", out=run, **OPTIONS)  # type: ignore[arg-type]
    assert answers(run).equals(answers(whole))


def test_parts_are_merged_to_the_whole(whole: Path, tmp_path: Path, answers: Callable[[Path], pa.Table]) -> None:
    for part in (1, 2):
        apm_tta.run("demo", out=tmp_path / str(part), shard_range=f"{part}/2", **OPTIONS)  # type: ignore[arg-type]
    parts = [tmp_path / "1", tmp_path / "2"]
    assert merge(tmp_path / "merged", parts).copied > 0
    assert answers(tmp_path / "merged").equals(answers(whole))
    assert merge(tmp_path / "merged", parts).copied == 0, "the same rows are the same under their keys"


def test_a_run_is_compared_with_itself_showing_by_showing(whole: Path) -> None:
    table = apm_tta.compare(whole, whole)
    assert (table["delta"] == 0).all()
    assert table.set_index(["method", "corruption", "severity"]).loc[("tda", "pixelate", 1), "n"] == 2 * LIMIT


def test_two_rows_of_one_key_are_refused(whole: Path, tmp_path: Path) -> None:
    """In a file whose digest and number of rows are right."""
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    (path,) = (run / "records" / "tda" / "contrast-3").glob("*.parquet")
    recorded = decode_records(path, read_content(path))
    twice = pa.concat_tables([recorded.table.slice(0, 1), recorded.table.slice(0, len(recorded.table) - 1)])
    write_content(path, encode_table(type(recorded)(twice, recorded.header)))
    with pytest.raises(UserError, match=r"holds image .* at position \d+ of tda twice"):
        apm_tta.open_run(run).report()
