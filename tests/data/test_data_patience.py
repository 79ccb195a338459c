"""What cannot be reached is tried again, for at most ten seconds per image; too many in a row are not the images."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apm_tta.data.image_files import MissingImage, OutOfReach, Patience, UnreachableImage, patience
from apm_tta.data.image_files.stored_bytes import read_whole

PASSING = UnreachableImage("a.png cannot be read (Input/output error)", passing=True)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    done: list[float] = []
    monkeypatch.setattr(patience.time, "sleep", done.append)
    monkeypatch.setattr(patience.time, "monotonic", lambda: 0.0)
    return done


def _failing(times: int, error: Exception = PASSING) -> list[Exception | bytes]:
    return [*[error] * times, b"content"]


def _read(trying: Patience, results: list[Exception | bytes], name: str = "a.png") -> bytes:
    def once() -> bytes:
        found = results.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    return trying.read(name, once)


def test_an_error_that_passes_is_waited_for_at_growing_intervals(waits: list[float]) -> None:
    assert _read(Patience(), _failing(4)) == b"content"
    assert waits == [0.1, 0.2, 0.4, 0.8]


def test_an_image_is_waited_for_ten_seconds_in_all(waits: list[float]) -> None:
    trying = Patience()
    for _ in range(3):
        with pytest.raises(UnreachableImage):
            _read(trying, _failing(50))
    assert sum(waits) == pytest.approx(10)


def test_what_will_not_pass_is_not_waited_for(waits: list[float]) -> None:
    for error in (UnreachableImage("a.png cannot be read (Permission denied)", passing=False), MissingImage("gone")):
        with pytest.raises(type(error)):
            _read(Patience(), _failing(1, error))
    assert waits == []


@given(st.lists(st.booleans(), max_size=60))
def test_twenty_in_a_row_and_no_fewer_end_a_run(reached: list[bool]) -> None:
    trying, in_a_row = Patience(), 0
    trying.exhaust(map(str, range(len(reached))))
    for number, fine in enumerate(reached):
        in_a_row = 0 if fine else in_a_row + 1
        try:
            _read(trying, _failing(0 if fine else 1), str(number))
        except OutOfReach:
            assert in_a_row == 20
            return
        except UnreachableImage:
            assert in_a_row < 20


def test_fewer_bytes_than_asked_for_are_unreachable(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345678")
    assert read_whole(tmp_path / "a", 2, 3) == b"345"
    with pytest.raises(UnreachableImage, match="reading it ended after 6 of 9 bytes"):
        read_whole(tmp_path / "a", 2, 9)
    with pytest.raises(UnreachableImage, match=r"cannot be read \(No such file"):
        read_whole(tmp_path / "gone" / "a")
