"""The three commands by which two runs meet, on a run before a change and after it."""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from apm_tta.cli import main
from apm_tta.harness.storage.records import read_records

Said = tuple[int, str]
Bench = Callable[[Sequence[Sequence[str]], Path], list[Said]]
"""Runs commands one after another in a folder; returns exit code and text of each."""

NOTHING = "nothing that decides a number"
_CLOCK = ["latency_ms", "batch_ms", "peak_memory_mb"]


def here(commands: Sequence[Sequence[str]], place: Path) -> list[Said]:
    """Run commands in this process, in the folder ``place``."""
    said, before = [], Path.cwd()
    os.chdir(place)
    try:
        for words in commands:
            text = io.StringIO()
            with redirect_stdout(text), redirect_stderr(text):
                code = main(list(words))
            said.append((code, text.getvalue()))
    finally:
        os.chdir(before)
    return said


@dataclass(frozen=True)
class Before:
    """A run before anything changes.

    Attributes:
        place: folder of all files that it reads; ``{place}`` in words stands for it.
        words: what was typed, without the run folder.
        half: run folder of the first half of its shards.
        whole: run folder of all of them.
    """

    place: Path
    words: tuple[str, ...]
    half: Path
    whole: Path


def typed(words: Sequence[str], place: Path, out: Path, *more: str) -> list[str]:
    """Return the words of a run whose files lie in ``place``."""
    return [*(word.replace("{place}", str(place)) for word in words), *more, "--quiet", "--out", str(out)]


def run_before(place: Path, words: Sequence[str], folder: Path, bench: Bench = here) -> Before:
    """Compute both halves of a run, and join them."""
    before = Before(place, tuple(words), folder / "half", folder / "whole")
    commands = [
        typed(words, place, before.half, "--shard-range", "1/2"),
        typed(words, place, folder / "rest", "--shard-range", "2/2"),
        ["merge", str(before.half), str(folder / "rest"), "--out", str(before.whole)],
    ]
    for code, text in bench(commands, place):
        assert code == 0, text
    assert len(list(before.half.rglob("*.parquet"))) < len(list(before.whole.rglob("*.parquet")))
    return before


def meet(before: Before, place: Path, words: Sequence[str], folder: Path, bench: Bench) -> dict[str, Said]:
    """Let a run that was begun before meet what it is now: go on with its half, merge with it, compare with it.

    Args:
        before: the run.
        place: where its files are now.
        words: what is typed now.
        folder: an empty folder for run folders.
        bench: runs the commands under the circumstances of now.

    Returns:
        What ``resume``, ``part`` (the other half, by itself), ``merge`` and ``compare`` said.
    """
    shutil.copytree(before.half, folder / "resumed")
    commands = {
        "resume": typed(words, place, folder / "resumed", "--shard-range", "2/2"),
        "part": typed(words, place, folder / "part", "--shard-range", "2/2"),
        "merge": ["merge", str(before.half), str(folder / "part"), "--out", str(folder / "merged")],
        "compare": ["compare", str(before.whole), str(folder / "part")],
    }
    return dict(zip(commands, bench(list(commands.values()), place), strict=True))


def check_accepted(before: Before, place: Path, words: Sequence[str], folder: Path, bench: Bench = here) -> None:
    """Assert that the run goes on, merges, and differs in nothing, also not in an answer."""
    said = meet(before, place, words, folder, bench)
    assert {name: code for name, (code, _) in said.items()} == dict.fromkeys(said, 0), said
    assert NOTHING in said["compare"][1]
    expected = answers(before.whole)
    assert answers(folder / "resumed") == expected
    assert answers(folder / "merged") == expected


def check_refused(
    before: Before, place: Path, words: Sequence[str], named: str, folder: Path, bench: Bench = here
) -> None:
    """Assert that the run neither goes on nor merges, and that every command names what changed.

    Args:
        named: pattern of the name.
    """
    kept = _content(before.half)
    said = meet(before, place, words, folder, bench)
    assert said["part"][0] == 0, said["part"]
    for name, expected in {"resume": 1, "merge": 1}.items():
        code, text = said[name]
        assert code == expected, (name, text)
        assert text.count("\n") == 1, (name, text)
    assert _content(folder / "resumed") == kept, "nothing is added to the run"
    assert not (folder / "merged").exists()
    for name in ("resume", "merge", "compare"):
        assert re.search(named, said[name][1]), (name, said[name][1])
    assert NOTHING not in said["compare"][1]


def answers(run: Path) -> list[str]:
    """Return all that was answered, without what the clock decides, in an order of its own."""
    return sorted(map(repr, read_records(run).drop_columns(_CLOCK).to_pylist()))


def _content(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*.parquet")}
