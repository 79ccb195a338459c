"""Parts of a run: equally long, each file once, by formulas or by a plan; and what is missing of them is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from apm_tta.cli import main
from apm_tta.harness.storage.division import Plan, deal, digest_of, part_of_files
from apm_tta.harness.storage.manifest import Division, Numbers
from apm_tta.harness.storage.manifest_file import read_manifest
from apm_tta.harness.storage.records import record_files
from apm_tta.harness.storage.run_records import files_of_run

WORDS = ["demo", "--limit", "12", "--corruptions", "", "--shard-size", "3", "--quiet", "--device", "cpu"]
METHODS = ["--methods", "zeroshot,tda", "--seeds", "0,1"]
"""Four shards, and two streams."""


@given(some.lists(some.integers(1, 1000), max_size=60), some.integers(1, 20))
def test_no_part_is_longer_than_the_mean_by_more_than_the_largest_unit(costs: list[int], parts: int) -> None:
    dealt = deal(costs, parts)
    loads = [sum(cost for cost, part in zip(costs, dealt, strict=True) if part == each) for each in range(parts)]
    assert sum(loads) == sum(costs)
    assert max(loads) <= sum(costs) / parts + max(costs, default=0)


@given(some.lists(some.integers(1, 1000), min_size=1, max_size=60), some.integers(1, 20))
def test_where_no_unit_is_a_large_share_the_longest_part_is_at_most_an_eighth_longer(
    costs: list[int], parts: int
) -> None:
    """Units of which none is larger than 0.15 of the mean: the longest part is at most 1.15 of it."""
    pieces = -(-parts * max(costs) * 100 // (15 * sum(costs)))
    units = costs * pieces
    dealt = deal(units, parts)
    loads = [sum(cost for cost, part in zip(units, dealt, strict=True) if part == each) for each in range(parts)]
    assert max(loads) <= 1.15 * sum(units) / parts + 1e-9


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Make the two parts of a run. Do not change them."""
    folder = tmp_path_factory.mktemp("parts")
    made = [folder / f"part-{number}" for number in (1, 2)]
    for number, part in enumerate(made, 1):
        assert main([*WORDS, *METHODS, "--shard-range", f"{number}/2", "--out", str(part)]) == 0
    return made


@pytest.fixture(scope="module")
def numbers(parts: list[Path]) -> Numbers:
    return read_manifest(parts[0]).numbers


def recorded(run: Path) -> set[str]:
    return {path.relative_to(run).as_posix() for path in record_files(run)}


def test_parts_hold_what_everyone_can_tell_that_they_do(parts: list[Path], numbers: Numbers) -> None:
    division = read_manifest(parts[0]).division
    assert division == read_manifest(parts[1]).division
    assert division is not None
    part_of = part_of_files(numbers, division)
    for number, part in enumerate(parts, 1):
        assert recorded(part) == {str(name) for name, own in part_of.items() if own == number}


@settings(max_examples=30)
@given(number=some.integers(1, 12), tda=some.floats(0.1, 1000))
def test_for_any_number_of_parts_every_file_is_in_one_of_them(numbers: Numbers, number: int, tda: float) -> None:
    part_of = part_of_files(numbers, Division(parts=number, costs={"zeroshot": 1.0, "tda": tda}))
    assert part_of.keys() == files_of_run(numbers).keys()
    assert set(part_of.values()) <= set(range(1, number + 1))


def test_what_is_missing_is_named_with_the_command_that_computes_it(
    parts: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], numbers: Numbers
) -> None:
    """A part that is missing, then one that lacks a file; its own command completes it, and nothing is missing."""
    own = [Path(shutil.copytree(part, tmp_path / part.name)) for part in parts]
    out = tmp_path / "whole"
    capsys.readouterr()
    assert main(["merge", str(own[0]), "--out", str(out)]) == 1
    said = capsys.readouterr()
    assert "part 2 of 2 is missing: run-bench demo " in said.out
    assert f" --shard-range 2/2 --out {out}-part-2" in said.out
    assert f"{out} is incomplete: it lacks part 2 of 2; compute what is missing by the commands above" in said.err
    lost = record_files(own[1])[0]
    lost.unlink()
    assert main(["merge", *map(str, own), "--out", str(out)]) == 1
    said = capsys.readouterr()
    count = len(recorded(parts[1]))
    (line,) = (line for line in said.out.splitlines() if line.startswith(f"part 2 of 2 lacks 1 of {count} files: "))
    words = line.partition(": run-bench ")[2].split()
    assert words[-1] == str(own[1])
    words = [word.strip("'") for word in words]
    assert main([*words, "--device", "cpu", "--quiet"]) == 0
    assert lost.exists()
    assert main(["merge", *map(str, own), "--out", str(out)]) == 0
    assert len(recorded(out)) == len(files_of_run(numbers))


def test_repeated_and_overlapping_parts_are_told_apart(
    parts: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = Path(shutil.copytree(parts[0], tmp_path / "again"))
    assert main(["merge", *map(str, parts), str(again), "--out", str(tmp_path / "whole")]) == 0
    assert f"part 1 of 2 lies in several folders: {parts[0]}, {again}" in capsys.readouterr().out
    assert main(["merge", *map(str, parts), str(parts[0]), "--out", str(tmp_path / "twice")]) == 0
    assert f"given twice: {parts[0]}" in capsys.readouterr().out
    third = tmp_path / "third"
    assert main([*WORDS, *METHODS, "--shard-range", "3/5", "--out", str(third)]) == 0
    shutil.rmtree(third / "records")
    capsys.readouterr()
    assert main(["merge", *map(str, parts), str(third), "--out", str(tmp_path / "more")]) == 0
    assert "the parts are of different divisions, into 2 and 5: they overlap" in capsys.readouterr().out


def test_a_part_knows_that_it_is_one(parts: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing of the other part is ever recorded here: the same command again would not help."""
    assert main(["report", str(parts[0])]) == 1
    refused = capsys.readouterr().err
    assert (
        "it holds a part of 2: run-bench merge joins it with the others, and names what they lack, or use report"
        in refused
    )
    assert "to resume" not in refused
    assert main(["status", str(parts[0])]) == 0
    told = capsys.readouterr().out
    assert "Part 1: complete." in told
    assert "run-bench merge joins it with the other parts." in told
    assert "left at that rate" not in told
    assert main(["merge", *map(str, parts), "--out", str(tmp_path / "whole")]) == 0
    capsys.readouterr()
    assert main(["status", str(tmp_path / "whole")]) == 0
    assert "Part" not in capsys.readouterr().out


def test_parts_follow_one_plan(
    parts: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], numbers: Numbers
) -> None:
    """A dry run writes it; parts of it are not merged with parts of another, nor gone on with by another."""
    plan, part = tmp_path / "plan.json", tmp_path / "part"
    assert main([*WORDS, *METHODS, "--dry-run", "--plan", str(plan)]) == 0
    measured = Plan.model_validate_json(plan.read_bytes())
    assert measured.files_sha256 == digest_of({name: file.images for name, file in files_of_run(numbers).items()})
    assert measured.seconds_per_image.keys() == {"zeroshot", "tda"}
    plan.write_text(json.dumps({**measured.model_dump(), "seconds_per_image": {"zeroshot": 1e-9, "tda": 1.0}}))
    assert main([*WORDS, *METHODS, "--shard-range", "1/3", "--plan", str(plan), "--out", str(part)]) == 0
    assert {name.split("/")[1] for name in recorded(part)} == {"tda"}
    division = read_manifest(part).division
    assert division is not None
    assert division.plan_file == str(plan)
    capsys.readouterr()
    for words in (
        ["merge", *map(str, [parts[0], part]), "--out", str(tmp_path / "whole")],
        [*WORDS, *METHODS, "--shard-range", "2/3", "--out", str(part)],
    ):
        assert main(words) == 1
        assert f"{part} holds a part by the plan {division.plan[:12]} ({plan}), not by" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read (No such file or directory)"),
        ("{}", "is not a plan"),
        ('{"files_sha256": "0", "seconds_per_image": {"zeroshot": 1, "tda": 1}}', "is the plan of another run"),
    ],
)
def test_what_is_no_plan_of_the_run_is_refused(
    tmp_path: Path, content: str | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "plan.json"
    if content is not None:
        plan.write_text(content)
    words = [*WORDS, *METHODS, "--plan", str(plan), "--out", str(tmp_path / "run")]
    assert main([*words, "--shard-range", "1/2"]) == 1
    message = capsys.readouterr().err
    assert f"{plan} {said}" in message
    assert "write it with the run's own command, --dry-run and --plan" in message
    assert main(words) == 2
    assert "--plan divides a run into parts: it needs --shard-range" in capsys.readouterr().err
