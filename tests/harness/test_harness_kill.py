"""A run that is killed again and again ends with the records and tables of an uninterrupted run."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pyarrow as pa

LOOKS_AT_COSTS = True
KILLS = 10
WORDS = [
    *("demo", "--methods", "apm,tda", "--limit", "30", "--corruptions", "contrast,pixelate"),
    *("--severities", "3,5", "--shard-size", "10", "--set", "apm.iterations=4", "--quiet", "--device", "cpu"),
]
FILES = 5 * (3 + 1)
"""Five conditions; three shards under each for the episodic method, one stream for the online one."""


def recorded(run: Path) -> int:
    return len(list(run.glob("records/**/*.parquet")))


def test_ten_kills_at_random_moments_lose_nothing_and_change_nothing(
    tmp_path: Path,
    start: Callable[[list[str]], BaseProcess],
    answers: Callable[[Path], pa.Table],
    tables: Callable[[Path], list[str]],
) -> None:
    """Each kill comes a few milliseconds after a random number of records, spread over the whole run."""
    whole, run = tmp_path / "whole", tmp_path / "run"
    start([*WORDS, "--out", str(whole)]).join()
    assert recorded(whole) == FILES

    moments = random.Random(7)
    for after in sorted(moments.sample(range(FILES), KILLS)):
        process = start([*WORDS, "--out", str(run)])
        while recorded(run) < after and process.is_alive():
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.03))
        assert process.is_alive(), "it must be killed before it ends"
        before = {path: path.read_bytes() for path in run.glob("records/**/*.parquet")}
        process.kill()
        process.join()
        assert process.exitcode == -9
        after_death = {path: path.read_bytes() for path in run.glob("records/**/*.parquet")}
        assert all(after_death[path] == content for path, content in before.items())
    last = start([*WORDS, "--out", str(run)])
    last.join()

    assert not list(run.rglob("*.partial")), "what killed writers left behind is gone"
    assert recorded(run) == FILES
    table = answers(run)
    cells = table.group_by(["method", "corruption", "severity", "setting", "seed", "id"]).aggregate([([], "count_all")])
    assert cells["count_all"].to_pylist() == [1] * (5 * 2 * 30), "every row exactly once"
    assert table.equals(answers(whole))
    assert tables(run) == tables(whole)
