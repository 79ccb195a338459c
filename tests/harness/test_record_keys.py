"""The key of a row: no two rows of a cell share one, and rows of two files are matched by it."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest

from apm_tta.data.layouts import Entry
from apm_tta.data.sample import CLEAN
from apm_tta.harness.compute.loading import Loaded, Unread
from apm_tta.harness.compute.shown import positions_of, repeats
from apm_tta.harness.storage.merged_images import preferred
from apm_tta.harness.storage.record_header import RecordHeader
from apm_tta.harness.storage.record_keys import equal_key
from apm_tta.harness.storage.records import SCHEMA, Recorded
from apm_tta.harness.storage.renewed_records import _joined
from apm_tta.harness.storage.site import Site

SITE = Site(
    started="", commit="", device="cpu", device_name="", threads=1, python="", platform="", clock="time.perf_counter"
)
HEADER = RecordHeader(
    fingerprint="f", file="a", site=SITE, batch_sizes=(1,), unit="u", remarks={}, warnings={}, setup_warnings={}
)


def table(*rows: tuple[str, int | None, int | None]) -> pa.Table:
    """Return rows of id, position and prediction; one without a prediction could not be read."""
    plain = [
        {"id": each, "position": position, "prediction": answer, "error": None if answer is not None else "gone"}
        for each, position, answer in rows
    ]
    return pa.Table.from_pylist([{**dict.fromkeys(SCHEMA.names), **row} for row in plain], schema=SCHEMA)


@pytest.mark.parametrize(
    ("rows", "key"),
    [
        ([("a", None, 1), ("b", None, 1)], None),
        ([("a", None, 1), ("a", None, 1)], "image a"),
        ([("a", 0, 1), ("a", 7, 1)], None),
        ([("a", 3, 1), ("b", 3, 1)], "image a at position 3"),
        ([("a", 0, 1), ("b", None, 1)], "image b at position None"),
        ([], None),
    ],
)
def test_equal_keys_are_found(rows: list[tuple[str, int | None, int | None]], key: str | None) -> None:
    assert equal_key(table(*rows)) == key


def test_rows_are_renewed_by_their_key() -> None:
    """An image that could be read the second time keeps that answer, and gets one for the first."""
    former, new = Recorded(table(("a", 0, None), ("a", 1, 5)), HEADER), Recorded(table(("a", 0, 9)), HEADER)
    joined = _joined(former, new).table
    assert joined.select(["id", "position", "prediction"]).to_pylist() == [
        {"id": "a", "position": 0, "prediction": 9},
        {"id": "a", "position": 1, "prediction": 5},
    ]


def test_two_parts_are_compared_by_their_keys() -> None:
    """The same answers in another order are the same; the same ids at other positions are other rows."""
    held = Recorded(table(("a", 0, 1), ("a", 1, 2)), HEADER)
    assert preferred(held, replace(held, table=table(("a", 1, 2), ("a", 0, 1)))) is held
    assert preferred(held, replace(held, table=table(("a", 0, 2), ("a", 1, 1)))) is None
    assert preferred(held, replace(held, table=table(("a", 2, 1), ("a", 1, 2)))) is None
    lacking = replace(held, table=table(("a", 0, 1), ("a", 1, None)))
    assert preferred(lacking, held) is held


def test_positions_follow_what_could_be_read() -> None:
    a, b, c = (Entry(name, 0) for name in "abc")
    places = [(CLEAN, each) for each in (a, b, a, c)]
    assert repeats(places)
    assert not repeats(places[:2])
    loaded = Loaded([places[0], places[2]], None, [], [Unread(*places[1], None), Unread(*places[3], None)])  # type: ignore[arg-type]
    found = positions_of(loaded, places, [4, 5, 6, 7])
    assert found.read == [4, 6]
    assert found.unread == [5, 7]
