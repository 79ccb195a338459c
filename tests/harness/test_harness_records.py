"""Records: what was written is read back, and what is damaged is refused by name."""

from __future__ import annotations

import subprocess
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apm_tta.data.sample import CLEAN, Condition
from apm_tta.errors import UserError
from apm_tta.harness.plan import Cell
from apm_tta.harness.storage.records import (
    SCHEMA,
    Row,
    as_rows,
    digest_path,
    read_records,
    read_shard,
    write_digest,
    write_rows,
)

CELL = Cell("fashion-mnist", Condition("fog", 3), "embedded", "apm", 7)
classes = st.integers(0, 2**31 - 1)
single = st.floats(width=32, allow_nan=False)
answered = st.builds(
    Row,
    id=st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    label=classes,
    prediction=classes,
    top5=st.lists(classes, min_size=1, max_size=5),
    confidence=single,
    teacher_prediction=classes,
    target_prediction=st.none() | classes,
    iteration_predictions=st.lists(classes, max_size=4),
    first_loss=st.none() | single,
    last_loss=st.none() | single,
    last_cosine=st.none() | single,
    iterations=classes,
    latency_ms=st.none() | st.floats(allow_nan=False),
    batch_ms=st.none() | st.floats(allow_nan=False),
    peak_memory_mb=st.none() | single,
    gflop=st.none() | st.floats(allow_nan=False),
)
damaged = st.builds(Row, id=st.text("ab/", max_size=9), label=classes, error=st.text("ab ", min_size=1))
rows = answered | damaged
cells = st.builds(
    Cell,
    dataset=st.text("ab-", min_size=1),
    condition=st.builds(Condition, st.sampled_from(["fog", "snow"]), st.integers(1, 5)) | st.just(CLEAN),
    teacher=st.sampled_from(["embedded", "ViT-B-32:/a path/to weights.pt", "hf-hub:é"]),
    method=st.sampled_from(["apm", "zeroshot"]),
    seed=st.integers(0, 2**63 - 1),
    setting=st.sampled_from(["episodic", "continual"]),
)


def row(number: int = 0) -> Row:
    return Row(f"test/{number:05d}", 1, None, 2, [2, 1, 3], 0.5, 2, 3, [0, 2], 0.25, 0.125, 0.75, 1, None, 2.0)


def columns(cell: Cell) -> dict[str, object]:
    return {
        "dataset": cell.dataset,
        "corruption": cell.condition.corruption,
        "severity": cell.condition.severity,
        "setting": cell.setting,
        "teacher": cell.teacher,
        "method": cell.method,
        "seed": cell.seed,
    }


@settings(max_examples=30)
@given(st.dictionaries(cells, st.lists(rows, min_size=1, max_size=4), min_size=1, max_size=3))
def test_what_was_written_is_read_back(written: dict[Cell, list[Row]]) -> None:
    """Every field of every row, with the cell it belongs to, in the order of the files' names."""
    with TemporaryDirectory() as folder:
        run = Path(folder)
        for index, (cell, answers) in enumerate(written.items()):
            write_rows(run / "records" / f"{index}.parquet", cell, answers)
        read = read_records(run)
        assert read.schema.equals(SCHEMA)
        assert read.to_pylist() == [
            {**columns(cell), **asdict(answer)} for cell, answers in written.items() for answer in answers
        ]


def test_files_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    """Not in the order in which they were written."""
    for number in (2, 0, 1):
        write_rows(tmp_path / "records" / "apm" / f"shard-{number:05d}.parquet", CELL, [row(number)])
    assert read_records(tmp_path)["id"].to_pylist() == ["test/00000", "test/00001", "test/00002"]


def test_a_file_is_there_whole_and_nothing_beside_it(tmp_path: Path) -> None:
    """Folders are made; a second writing replaces the first; no temporary file is left."""
    path = tmp_path / "records" / "apm" / "fog-3" / "a.parquet"
    write_rows(path, CELL, [row(0)])
    write_rows(path, CELL, [row(1), row(2)])
    assert read_shard(path)["id"].to_pylist() == ["test/00001", "test/00002"]
    assert sorted(file.name for file in path.parent.iterdir()) == ["a.parquet", "a.parquet.sha256"]


def test_what_a_killed_writer_left_behind_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "records" / "apm" / "a.parquet"
    write_rows(path, CELL, [row()])
    path.with_name("b.partial").write_bytes(path.read_bytes()[:100])
    assert read_records(tmp_path).num_rows == 1
    path.unlink()
    with pytest.raises(UserError, match="holds no records"):
        read_records(tmp_path)


def test_a_folder_without_records_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no records") as caught:
        read_records(tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("keep", [0, 1, 4, 100, 2000, -1])
def test_a_truncated_file_is_refused_by_name(tmp_path: Path, keep: int) -> None:
    """Cut anywhere; the message is one line and says what to do."""
    path = tmp_path / "records" / "apm" / "a.parquet"
    write_rows(path.with_name("0.parquet"), CELL, [row()])
    write_rows(path, CELL, [row(number) for number in range(20)])
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"is damaged .* sets it aside and answers its images again") as caught:
        read_records(tmp_path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("version", [b"1", b"2", b"4", None])
def test_another_schema_version_is_refused(tmp_path: Path, version: bytes | None) -> None:
    path = tmp_path / "records" / "a.parquet"
    write_rows(path, CELL, [row()])
    metadata = {} if version is None else {b"apm_tta_schema": version}
    pq.write_table(read_shard(path).replace_schema_metadata(metadata), path)
    write_digest(path, path.read_bytes())
    says = (
        r"has record schema (1|2|4|none), this version reads 3; (a newer apm-tta|the version in its run.yaml) reads it"
    )
    with pytest.raises(UserError, match=says) as caught:
        read_records(tmp_path)
    assert str(path) in str(caught.value)


def test_a_file_that_lacks_a_column_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "records" / "a.parquet"
    write_rows(path, CELL, [row()])
    pq.write_table(read_shard(path).drop_columns(["confidence"]), path)
    write_digest(path, path.read_bytes())
    with pytest.raises(UserError) as caught:
        read_records(tmp_path)
    assert str(path) in str(caught.value)


def test_no_flipped_bit_is_read(tmp_path: Path) -> None:
    """Parquet's own checks let some through; every 7th byte of the file, one bit each."""
    path = tmp_path / "records" / "a.parquet"
    write_rows(path, CELL, [row(0), row(1)])
    whole = path.read_bytes()
    for position in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="is damaged"):
            read_shard(path)
    path.write_bytes(whole)
    assert read_shard(path).num_rows == 2


def test_the_digest_is_the_one_that_sha256sum_checks(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_rows(path, CELL, [row()])
    subprocess.run(["sha256sum", "--check", "--quiet", digest_path(path).name], cwd=tmp_path, check=True)
    digest_path(path).unlink()
    with pytest.raises(UserError, match="is damaged"):
        read_shard(path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file stands where a folder should be."""
    (tmp_path / "records").write_text("a file")
    path = tmp_path / "records" / "apm" / "a.parquet"
    with pytest.raises(UserError, match=r"cannot be written .*finished shards are kept") as caught:
        write_rows(path, CELL, [row()])
    assert str(path) in str(caught.value)


def test_a_wrong_type_never_becomes_a_record(tmp_path: Path) -> None:
    """A prediction that is no class index stops the writer before a file is there."""
    path = tmp_path / "records" / "a.parquet"
    wrong = Row(**{**asdict(row()), "prediction": "Bag"})
    with pytest.raises((pa.ArrowException, TypeError)):
        write_rows(path, CELL, [wrong])
    assert not path.parent.exists()


def test_columns_become_rows() -> None:
    fields = asdict(row(0))
    turned = as_rows({name: [value, asdict(row(1))[name]] for name, value in fields.items()})
    assert turned == [row(0), row(1)]


def test_columns_of_different_length_are_refused() -> None:
    """A method that answers for too few images must not shift the others' labels."""
    fields = {name: [value, value] for name, value in asdict(row()).items()}
    with pytest.raises(ValueError, match="zip"):
        as_rows({**fields, "prediction": [2]})
