"""What is estimated to take more than ten minutes asks for a word, before it is begun."""

from __future__ import annotations

from pathlib import Path

import pytest

from apm_tta.cli import main
from apm_tta.errors import UserError
from apm_tta.islands.fine import COSTS, WAYS
from apm_tta.islands.patience import refuse_long, seconds_of_merging

IMAGE = "fashion-mnist:test/00004"


def test_ten_minutes_are_the_limit_unless_more_was_agreed_to() -> None:
    refuse_long(600, False)
    refuse_long(10**6, True)
    with pytest.raises(UserError, match="about 11 minutes here; add --yes"):
        refuse_long(601, False)


def test_every_way_has_a_cost_that_grows_with_the_factor() -> None:
    assert set(COSTS) == set(WAYS.names())
    assert [COSTS["shift"](factor, 8, 128) for factor in (1, 4)] == [1, 16]
    assert COSTS["stride"](1, 14, 768) == 1
    # Four times as many tokens a side: sixteen times the products in layers, 256 times those in attention.
    assert 16 < COSTS["stride"](4, 14, 768) < 256
    assert COSTS["bilinear"](4, 14, 768) == 1


def test_merging_is_estimated_from_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apm_tta.islands.patience._seconds_of_a_trial", lambda width: width / 100)
    assert seconds_of_merging(32, 200) == 2
    assert 4 * 2 < seconds_of_merging(64, 200) < 5 * 2


@pytest.mark.parametrize("words", [["islands", IMAGE, "--levels", "3"], ["islands", IMAGE, "--iterations", "0"]])
def test_a_command_that_takes_long_asks_for_a_word(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("apm_tta.islands.patience._seconds_of_a_trial", lambda _width: 6000.0)
    words = [*words, "--colours", "pca", "--animation", "none", "--out", str(tmp_path)]
    assert main(words) == 0
    capsys.readouterr()
    assert main([*words, "--resolution", "16"]) == 2
    error = capsys.readouterr().err
    assert "minutes here; add --yes" in error
    assert error.count("\n") == 1
    assert main([*words, "--resolution", "16", "--yes"]) == 0
