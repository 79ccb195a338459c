"""What measures a GPU runs to its end without one, and no page says more than was measured."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, one_thread: object) -> Callable[[list[str]], int]:
    """Return ``python -m benchmarks.gpu`` as a function of its arguments."""
    monkeypatch.syspath_prepend(str(ROOT))
    main: Callable[[list[str]], int] = import_module("benchmarks.gpu.__main__").main
    return main


def test_every_measurement_runs_to_its_end_and_the_page_says_that_there_is_none(
    command: Callable[[list[str]], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page in the repository is the command's own, until somebody has measured."""
    written = tmp_path / "gpu.md"
    assert command(["--smoke", "--out", str(written)]) == 0
    ended = [line.partition(":")[0] for line in capsys.readouterr().err.splitlines() if line.endswith("s left")]
    assert ended == ["Tests", "Answers", "Methods", "An iteration of the APM", "Two processes on one device"]
    text = written.read_text()
    assert "**Nothing has been measured on a GPU yet.**" in text
    committed = (ROOT / "results" / "gpu.md").read_text()
    if "Nothing has been measured" in committed:
        assert committed == text


def test_a_page_with_measurements_is_not_replaced_by_one_without(
    command: Callable[[list[str]], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "gpu.md"
    page.write_text("# On a GPU\n\nMade by `python -m benchmarks.gpu` on a device in 400 s.\n")
    before = page.read_text()
    assert command(["--smoke", "--out", str(page)]) == 2
    assert "has been measured" in capsys.readouterr().err
    assert page.read_text() == before


def test_overlapping_kernels_count_once(command: object) -> None:
    union = import_module("benchmarks.gpu.busy").union
    assert union([(0, 2), (1, 3), (5, 6), (5.5, 5.75)]) == 4
    assert union([]) == 0
