"""Records: what was written is read back, and a damaged file is refused by name."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records_by_hand import SITE

from apm_tta.columns import KEY
from apm_tta.data.sample import CLEAN, Condition
from apm_tta.errors import UserError
from apm_tta.harness.plan import Cell
from apm_tta.harness.storage import records
from apm_tta.harness.storage.record_header import RecordHeader
from apm_tta.harness.storage.records import (
    SCHEMA,
    SCHEMA_VERSION,
    digest_path,
    encode_records,
    read_records,
    read_shard,
    write_content,
    write_digest,
)

HEADER = RecordHeader(
    fingerprint="f" * 64,
    file="records/a.parquet",
    site=SITE,
    batch_sizes=(8,),
    unit="clean, images 0 to 1",
    remarks={"EXIF orientation ignored": 1},
    warnings={},
    setup_warnings={},
)
CELL = Cell("fashion-mnist", Condition("fog", 3), "embedded", "apm", 7)
classes = st.integers(0, 2**31 - 1)
single = st.floats(width=32, allow_nan=False)
answered = st.fixed_dictionaries(
    {
        "id": st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
        "label": classes,
        "prediction": classes,
        "top5": st.lists(classes, min_size=1, max_size=5),
        "confidence": single,
        "teacher_prediction": classes,
        "target_prediction": st.none() | classes,
        "iteration_predictions": st.lists(classes, max_size=4),
        "first_loss": st.none() | single,
        "last_loss": st.none() | single,
        "last_cosine": st.none() | single,
        "iterations": classes,
        "latency_ms": st.none() | st.floats(allow_nan=False),
        "batch_ms": st.none() | st.floats(allow_nan=False),
        "peak_memory_mb": st.none() | single,
        "gflop": st.none() | st.floats(allow_nan=False),
    }
)
damaged = st.fixed_dictionaries(
    {"id": st.text("ab/", max_size=9), "label": classes, "error": st.text("ab ", min_size=1)}
)
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


NAMES = [name for name in SCHEMA.names if name not in KEY]


def row(number: int = 0) -> dict[str, Any]:
    return {
        "id": f"test/{number:05d}",
        "label": 1,
        "prediction": 2,
        "top5": [2, 1, 3],
        "confidence": 0.5,
        "teacher_prediction": 2,
        "target_prediction": 3,
        "iteration_predictions": [0, 2],
        "first_loss": 0.25,
        "last_loss": 0.125,
        "last_cosine": 0.75,
        "iterations": 1,
        "batch_ms": 2.0,
    }


def write_rows(path: Path, cell: Cell, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows, which are easiest to read in a test, as the columns that are recorded."""
    columns = {name: [each.get(name) for each in rows] for name in NAMES}
    write_content(path, encode_records(cell, columns, HEADER))


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
def test_what_was_written_is_read_back(written: dict[Cell, list[dict[str, Any]]]) -> None:
    """Every field of every row, with the key of its cell, in the order of the files' names."""
    with TemporaryDirectory() as folder:
        run = Path(folder)
        for index, (cell, answers) in enumerate(written.items()):
            write_rows(run / "records" / f"{index}.parquet", cell, answers)
        read = read_records(run)
        assert read.schema.equals(SCHEMA)
        assert read.to_pylist() == [
            {**dict.fromkeys(NAMES), **columns(cell), **answer}
            for cell, answers in written.items()
            for answer in answers
        ]


def test_files_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    """The order in which they were written does not matter."""
    for number in (2, 0, 1):
        write_rows(tmp_path / "records" / "apm" / f"shard-{number:05d}.parquet", CELL, [row(number)])
    assert read_records(tmp_path)["id"].to_pylist() == ["test/00000", "test/00001", "test/00002"]


def test_writing_leaves_the_file_and_its_digest_only(tmp_path: Path) -> None:
    """Folders are created; writing again replaces the file; no temporary file is left."""
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
    """Truncated anywhere; the message is one line and states what to do."""
    path = tmp_path / "records" / "apm" / "a.parquet"
    write_rows(path.with_name("0.parquet"), CELL, [row()])
    write_rows(path, CELL, [row(number) for number in range(20)])
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"is damaged .* sets it aside and answers its images again") as caught:
        read_records(tmp_path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("version", [b"1", b"4", b"6", None])
def test_another_schema_version_is_refused(tmp_path: Path, version: bytes | None) -> None:
    path = tmp_path / "records" / "a.parquet"
    write_rows(path, CELL, [row()])
    metadata = {} if version is None else {b"apm_tta_schema": version}
    pq.write_table(read_shard(path).replace_schema_metadata(metadata), path)
    write_digest(path, path.read_bytes())
    message = r"has record schema (1|4|6|none), this version reads 5; rerunning the run's own command"
    with pytest.raises(UserError, match=message) as caught:
        read_records(tmp_path)
    assert str(path) in str(caught.value)


def rewrite(path: Path, table: pa.Table) -> None:
    metadata = {b"apm_tta_schema": str(SCHEMA_VERSION).encode(), **HEADER.as_metadata()}
    pq.write_table(table.replace_schema_metadata(metadata), path)
    write_digest(path, path.read_bytes())


def test_a_column_that_an_older_file_lacks_reads_as_null(tmp_path: Path) -> None:
    """In the order of the current columns, along with files that have it; a column of a later version is dropped."""
    path = tmp_path / "records" / "a.parquet"
    write_rows(path, CELL, [row()])
    rewrite(path, read_shard(path).drop_columns(["last_cosine"]).append_column("later", pa.array([1])))
    write_rows(path.with_name("b.parquet"), CELL, [row(1)])
    read = read_records(tmp_path)
    assert read.schema.equals(SCHEMA)
    assert read["last_cosine"].to_pylist() == [None, 0.75]
    assert read["last_loss"].to_pylist() == [0.125, 0.125]


@pytest.mark.parametrize("name", ["id", "label", "method", "seed"])
def test_a_file_that_lacks_a_required_column_is_refused_by_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / "records" / "a.parquet"
    write_rows(path, CELL, [row()])
    rewrite(path, read_shard(path).drop_columns([name]))
    with pytest.raises(UserError, match=f"lacks the column {name}") as caught:
        read_records(tmp_path)
    assert str(path) in str(caught.value)


def test_a_column_of_another_type_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "records" / "a.parquet"
    write_rows(path, CELL, [row()])
    table = read_shard(path)
    rewrite(path, table.set_column(table.schema.get_field_index("confidence"), "confidence", pa.array(["0.5"])))
    with pytest.raises(UserError, match="has string in the column confidence, not float"):
        read_records(tmp_path)


def test_no_flipped_bit_is_read(tmp_path: Path) -> None:
    """One bit in every 7th byte of the file; Parquet's own checksums miss some of them."""
    path = tmp_path / "records" / "a.parquet"
    write_rows(path, CELL, [row(0), row(1)])
    intact = path.read_bytes()
    for position in range(0, len(intact), 7):
        damaged = bytearray(intact)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="is damaged"):
            read_shard(path)
    path.write_bytes(intact)
    assert read_shard(path).num_rows == 2


def test_the_digest_is_one_that_sha256sum_checks(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_rows(path, CELL, [row()])
    subprocess.run(["sha256sum", "--check", "--quiet", digest_path(path).name], cwd=tmp_path, check=True)
    digest_path(path).unlink()
    with pytest.raises(UserError, match="is damaged"):
        read_shard(path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file is in the place of a folder."""
    (tmp_path / "records").write_text("a file")
    path = tmp_path / "records" / "apm" / "a.parquet"
    with pytest.raises(UserError, match="cannot be written") as caught:
        write_rows(path, CELL, [row()])
    assert str(path) in str(caught.value)
    assert caught.value.passing


def test_a_wrong_type_never_becomes_a_record(tmp_path: Path) -> None:
    """A prediction that is not a class index stops the writer before a file is created."""
    path = tmp_path / "records" / "a.parquet"
    with pytest.raises((pa.ArrowException, TypeError)):
        write_rows(path, CELL, [{**row(), "prediction": "Bag"}])
    assert not path.parent.exists()


def test_columns_of_different_lengths_are_refused() -> None:
    """A method that answers too few images must not shift the labels of the others."""
    with pytest.raises(ValueError, match="different lengths: 1, 2"):
        encode_records(CELL, {"id": ["a", "b"], "label": [0, 1], "prediction": [2]}, HEADER)


def test_a_column_that_is_not_declared_is_refused() -> None:
    with pytest.raises(ValueError, match="surprise is not a column of the records"):
        encode_records(CELL, {"id": ["a"], "label": [0], "surprise": [1.0]}, HEADER)


@pytest.mark.parametrize("writes", [0, 1, 2, 3])
def test_a_writer_killed_while_it_replaces_a_file_leaves_the_old_or_the_new(
    writes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three files are written one after another, each completely or not at all."""
    path = tmp_path / "a.parquet"
    write_rows(path, CELL, [row(0)])
    write, done = records.write_whole, []

    def until_killed(target: Path, content: bytes) -> None:
        if len(done) == writes:
            raise KeyboardInterrupt
        done.append(target)
        write(target, content)

    monkeypatch.setattr(records, "write_whole", until_killed)
    with suppress(KeyboardInterrupt):
        write_rows(path, CELL, [row(0), row(1)])
    assert read_shard(path).num_rows == (2 if writes >= 2 else 1)
    monkeypatch.undo()
    write_rows(path, CELL, [row(0), row(1)])
    subprocess.run(["sha256sum", "--check", "--quiet", digest_path(path).name], cwd=tmp_path, check=True)
