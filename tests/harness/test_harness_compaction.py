"""A complete cell's shards become one file: the same rows, whoever is killed meanwhile, and no less guarded."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from apm_tta.cli import main
from apm_tta.errors import UserError
from apm_tta.harness.status import read_status
from apm_tta.harness.storage import compaction, records
from apm_tta.harness.storage.compaction import compact
from apm_tta.harness.storage.manifest import Numbers
from apm_tta.harness.storage.manifest_file import read_manifest
from apm_tta.harness.storage.records import (
    Recorded,
    decode_records,
    encode_table,
    read_content,
    read_records,
    record_files,
    write_content,
)
from apm_tta.harness.storage.run_records import compact_files, present_files, read_headers, read_recorded, split

WORDS = [
    *("demo", "--limit", "16", "--corruptions", "", "--shard-size", "2", "--quiet", "--device", "cpu"),
    *("--methods", "zeroshot,ensemble,tda"),
]
"""Two methods with eight shards each, and one with a stream."""


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a run as it is just before its shards become one file. Do not change it."""
    run = tmp_path_factory.mktemp("sharded") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compaction, "LEAST_SHARDS", 100)
        assert main([*WORDS, "--out", str(run)]) == 0
    assert len(record_files(run)) == 17
    return run


@pytest.fixture
def run(sharded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sharded, tmp_path / "run"))


@pytest.fixture
def numbers(sharded: Path) -> Numbers:
    return read_manifest(sharded).numbers


@pytest.fixture
def compacted(run: Path, numbers: Numbers) -> Path:
    assert compact(run, numbers) == 2
    return run


def rows(run: Path, numbers: Numbers) -> dict[str, pa.Table]:
    """Return every shard's rows as they were recorded, wherever they lie now."""
    found = {}
    for file in present_files(run, numbers):
        recorded = read_recorded(run, file, numbers.fingerprint)
        found |= {str(shard.name): each.table for shard, each in split(recorded, file)}
    return found


def content(run: Path) -> dict[str, bytes]:
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in (run / "records").rglob("*.*")}


def edit(run: Path, change: Callable[[Recorded], Recorded]) -> Path:
    """Change what the compact file of zero-shot holds, digest and all; return its path."""
    (path,) = (run / "records" / "zeroshot").rglob("*.parquet")
    write_content(path, encode_table(change(decode_records(path, read_content(path)))))
    return path


def test_rows_and_headers_are_those_of_the_shards(sharded: Path, compacted: Path, numbers: Numbers) -> None:
    """Two files and two digests in place of sixteen each; the stream is one file already."""
    assert len(record_files(compacted)) == 3
    assert len(content(compacted)) == 6
    assert rows(compacted, numbers) == rows(sharded, numbers)
    assert sorted(map(str, read_headers(compacted, numbers))) == sorted(map(str, read_headers(sharded, numbers)))
    assert read_status(compacted).methods == read_status(sharded).methods
    for run in (sharded, compacted):
        assert main(["report", str(run)]) == 0
    assert (compacted / "results.csv").read_bytes() == (sharded / "results.csv").read_bytes()


def test_a_run_ends_with_compact_files_and_goes_on_from_them(compacted: Path, sharded: Path, numbers: Numbers) -> None:
    """Nothing is answered again, and nothing written; a shard that was lost before is answered and joined again."""
    before = content(compacted)
    assert main([*WORDS, "--out", str(compacted)]) == 0
    assert content(compacted) == before
    assert "started: 0 shards and streams to compute" in (compacted / "run.log").read_text().splitlines()[-2]
    shutil.rmtree(compacted / "records" / "ensemble")
    shutil.copytree(sharded / "records" / "ensemble", compacted / "records" / "ensemble")
    for path in sorted((compacted / "records" / "ensemble").rglob("*shard-00003*")):
        path.unlink()
    assert main([*WORDS, "--out", str(compacted)]) == 0
    assert sorted(content(compacted)) == sorted(before)
    log = (compacted / "run.log").read_text()
    assert "started: 1 shard or stream to compute" in log
    assert "shards of 1 cell were made one file each" in log


class Killed(BaseException):
    pass


def kill_before(step: int, patch: pytest.MonkeyPatch) -> None:
    """Let the process be killed before it writes or removes its ``step``-th file, from 0."""
    taken = 0

    def wrapped(function: Callable[..., object]) -> Callable[..., object]:
        def counted(*arguments: object, **options: object) -> object:
            nonlocal taken
            if taken == step:
                raise Killed
            taken += 1
            return function(*arguments, **options)

        return counted

    patch.setattr(records, "write_whole", wrapped(records.write_whole))
    patch.setattr(Path, "unlink", wrapped(Path.unlink))


def test_whoever_is_killed_at_whatever_step_loses_nothing(
    sharded: Path, tmp_path: Path, numbers: Numbers, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, whole = rows(sharded, numbers), None
    steps = 2 * (2 + 16)  # two compact files with their digests, and sixteen that are removed for each
    for step in range(steps + 1):
        run = Path(shutil.copytree(sharded, tmp_path / str(step)))
        with monkeypatch.context() as patch:
            kill_before(step, patch)
            if step < steps:
                with pytest.raises(Killed):
                    compact(run, numbers)
            else:
                compact(run, numbers)
        assert rows(run, numbers) == expected
        compact(run, numbers)
        whole = whole or content(run)
        assert content(run) == whole


def test_a_damaged_compact_file_is_refused_and_its_images_answered_again(
    compacted: Path, sharded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = (compacted / "records" / "zeroshot").rglob("*.parquet")
    bits = bytearray(path.read_bytes())
    bits[len(bits) // 2] ^= 1
    path.write_bytes(bits)
    assert main(["report", str(compacted)]) == 1
    assert f"{path} is damaged" in capsys.readouterr().err
    assert main([*WORDS, "--out", str(compacted)]) == 0
    assert [each.name for each in path.parent.iterdir() if each.suffix == ".damaged"] == [f"{path.name}.damaged"]
    names = ["method", "id", "prediction", "confidence"]
    assert read_records(compacted).select(names).sort_by("id") == read_records(sharded).select(names).sort_by("id")


def swapped(recorded: Recorded) -> Recorded:
    return replace(recorded, header=recorded.others[0], others=(recorded.header, *recorded.others[1:]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda one: replace(one, others=one.others[:-1]), "holds what was recorded as 7 of 8 shards"),
        (swapped, "holds what was recorded as 8 of 8 shards"),
        (lambda one: replace(one, table=one.table.slice(1)), "has 15 rows, its shard 16 images"),
        (lambda one: replace(one, table=pa.concat_tables([one.table[:15], one.table[:1]])), "in two rows"),
        (
            lambda one: replace(one, others=tuple(each.model_copy(update={"fingerprint": "0"}) for each in one.others)),
            "is of another run",
        ),
    ],
)
def test_what_is_not_the_runs_is_refused(
    compacted: Path, change: Callable[[Recorded], Recorded], said: str, numbers: Numbers
) -> None:
    """Its digest is right each time: rows of another number, headers of other files or of another run."""
    path = edit(compacted, change)
    (file,) = (each for each in present_files(compacted, numbers) if compacted / each.name == path)
    with pytest.raises(UserError, match=said):
        read_recorded(compacted, file, numbers.fingerprint)


def test_a_file_of_another_cell_is_refused(
    compacted: Path, capsys: pytest.CaptureFixture[str], numbers: Numbers
) -> None:
    """The compact file of one method under the name of another."""
    own, other = (next((compacted / "records" / name).rglob("*.parquet")) for name in ("zeroshot", "ensemble"))
    write_content(own, other.read_bytes())
    assert main(["report", str(compacted)]) == 1
    assert "holds what was recorded as records/ensemble/" in capsys.readouterr().err
    assert set(compact_files(numbers)) == {own.relative_to(compacted), other.relative_to(compacted)}


def test_incomplete_cells_and_those_with_unread_images_stay_in_shards(run: Path, numbers: Numbers) -> None:
    """What lacks an answer may have one later; what is damaged is left for the report to name."""
    lost, unread = ((sorted((run / "records" / name).rglob("*.parquet"))[3]) for name in ("zeroshot", "ensemble"))
    lost.unlink()
    one = decode_records(unread, read_content(unread))
    place = one.table.schema.get_field_index("error")
    field = one.table.schema.field(place)
    table = one.table.set_column(place, field, pa.array(["cut off", None], field.type))
    write_content(unread, encode_table(replace(one, table=table)))
    before = content(run)
    assert compact(run, numbers) == 0
    unread.write_bytes(b"")
    assert compact(run, numbers) == 0
    assert content(run).keys() == before.keys()


def test_parts_are_merged_into_compact_files_and_merging_again_changes_nothing(
    run: Path, tmp_path: Path, sharded: Path, numbers: Numbers
) -> None:
    """The second time, one of the parts is itself compact."""
    parts = [Path(shutil.copytree(run, tmp_path / f"part-{odd}")) for odd in (0, 1)]
    for odd, part in enumerate(parts):
        for path in part.rglob("*-shard-*"):
            if int(path.name.split("-shard-")[1][:5]) % 2 != odd and path.parents[1].name != "tda":
                path.unlink()
    out = tmp_path / "merged"
    assert main(["merge", *map(str, parts), "--out", str(out)]) == 0
    before = content(out)
    assert len(before) == 6
    assert rows(out, numbers) == rows(sharded, numbers)
    compact(run, numbers)
    assert main(["merge", str(run), *map(str, parts), "--out", str(out)]) == 0
    assert content(out) == before
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compaction, "LEAST_SHARDS", 100)
        assert main(["merge", str(out), "--out", str(parts[0])]) == 0
    assert rows(parts[0], numbers) == rows(sharded, numbers)


def test_other_answers_under_the_names_of_a_compact_file_are_not_merged(
    run: Path, tmp_path: Path, numbers: Numbers, capsys: pytest.CaptureFixture[str]
) -> None:
    part = Path(shutil.copytree(run, tmp_path / "part"))
    compact(run, numbers)
    (path,) = (each for each in (part / "records" / "zeroshot").rglob("*shard-00005.parquet"))
    one = decode_records(path, read_content(path))
    place = one.table.schema.get_field_index("prediction")
    other = pa.array([9 - value for value in one.table["prediction"].to_pylist()], pa.int32())
    write_content(path, encode_table(replace(one, table=one.table.set_column(place, "prediction", other))))
    assert main(["merge", str(part), "--out", str(run)]) == 1
    assert "hold different records of the same images" in capsys.readouterr().err
