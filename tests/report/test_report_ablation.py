"""An ablation of one method's parameters, on answers written by hand; its test and interval beside plain references."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from records_by_hand import Row, read_plain, write_plain, write_rows

from apm_tta.cli import main
from apm_tta.data.sample import CLEAN, Condition
from apm_tta.errors import UserError
from apm_tta.harness.plan import Cell, record_file
from apm_tta.report.ablation import ablate
from apm_tta.report.statistics import mcnemar_p, paired_interval, paired_mean_interval, sign_flip_p

SMALL = st.lists(st.integers(-3, 3), min_size=1, max_size=9)
FOG = Condition("fog", 3)
LETTERS = {
    "zeroshot": ("........", "........"),
    "apm": ("xx......", "x......."),
    "apm[iterations=9]": ("xxxx....", "xxx....."),
    "apm[target=mta]": ("xx......", "x......."),
    "apm[iterations=40]": ("x.......", "........"),
    "apm[iterations=9,target=mta]": ("xx......", "x......."),
}
"""Right (``x``) and wrong answers of each row: clean, and under fog."""
RESOLVED = {"iterations": 20, "target": "view0"}


@pytest.fixture
def run(tmp_path: Path, whole_run: Path) -> Path:
    """Make a run of eight images under two conditions; a right answer is class 1, a wrong one 0."""
    folder, manifest = tmp_path / "run", read_plain(whole_run)
    numbers = manifest["numbers"]
    common = {"protocol": "episodic", "votes": False, "templates": "simple", "sentences": ["a photo of a {}."]}
    numbers |= {"conditions": ["clean", str(FOG)], "shard_size": 8, "seeds": [3]}
    numbers["dataset"] |= {"images_per_condition": 8}
    own = {
        row: dict(part.split("=") for part in row.partition("[")[2].rstrip("]").split(",") if part) for row in LETTERS
    }
    numbers["methods"] = {row: {**common, **RESOLVED, **own[row]} for row in LETTERS}
    folder.mkdir()
    write_plain(folder, manifest)
    for method, both in LETTERS.items():
        for condition, letters in zip((CLEAN, FOG), both, strict=True):
            cell = Cell("fashion-mnist", condition, "embedded", method, 3)
            right = [int(letter == "x") for letter in letters]
            rows = [
                Row(f"{index:03d}", 1, None, each, [each], 0.5, 1, None, [], iterations=0, latency_ms=7.0)
                for index, each in enumerate(right)
            ]
            write_rows(folder / record_file(cell, 0), cell, rows)
    return folder


def test_an_ablation_on_an_example_worked_by_hand(run: Path) -> None:
    """Of the mean over two conditions: an image's two answers count together, in the interval and in the test."""
    found = ablate(run, "apm")
    frame = found.frame.set_index("method")
    assert list(frame.index) == ["apm", "apm[iterations=9]", "apm[iterations=40]", "apm[target=mta]"], "grouped"
    assert found.others == ("apm[iterations=9,target=mta]",)
    more, less, same = (frame.loc[row] for row in list(frame.index)[1:])
    assert (more["parameter"], more["value"], more["default"]) == ("iterations", "9", "20")
    assert (same["parameter"], same["value"], same["default"]) == ("target", "mta", "view0")
    assert frame.loc["apm", "top1"] == 100 * (2 / 8 + 1 / 8) / 2
    # Clean: images 2, 3 gain; fog: images 1, 2 gain. Of eight images two gain once (1, 3) and one twice (2).
    assert (more["top1"], more["delta"], more["changed"]) == (43.75, 25.0, 25.0)
    # All of the eight signs of 1, 1, 2 must agree to reach a sum of 4 or -4.
    assert more["p"] == pytest.approx(2 / 8)
    # Image 1 loses clean, image 0 under fog: both signs agree in two of four cases.
    assert (less["delta"], less["p"]) == (-12.5, pytest.approx(2 / 4))
    assert (same["delta"], same["p"], same["changed"]) == (0, 1, 0)
    assert [more["p_holm"], less["p_holm"], same["p_holm"]] == pytest.approx([3 / 4, 1, 1])
    assert more["delta_low"] <= 25 <= more["delta_high"]
    assert pd.isna(frame.loc["apm", ["delta", "p", "changed"]]).all()


def test_the_command_prints_and_writes_it_in_three_forms(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run), "--ablation", "apm"]) == 0
    text = capsys.readouterr().out
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert cells[2][:4] == ["as stated", "apm", "", "18.8"]
    assert cells[3][:5] == ["iterations", "9", "20", "43.8", "+25.0"]
    assert r"Not in the table, since they differ in more: apm[iterations=9,target=mta]." in text
    assert (run / "ablation-apm.md").read_text() in text
    assert r"iterations & 9 & 20 & 43.8 & +25.0 & " in (run / "ablation-apm.tex").read_text()
    assert list(pd.read_csv(run / "ablation-apm.csv")["method"]) == list(ablate(run, "apm").frame["method"])


def test_any_row_may_be_the_one_that_the_others_are_paired_with(run: Path) -> None:
    found = ablate(run, "apm[ target = mta ]").frame
    assert list(zip(found["method"], found["parameter"], found["value"], found["default"], strict=True))[1:] == [
        ("apm", "target", "view0", "mta"),
        ("apm[iterations=9,target=mta]", "iterations", "9", "20"),
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--ablation", "tda"], "has no method 'tda'; it has zeroshot, apm, "),
        (
            ["--ablation", "zeroshot"],
            "has no row that differs from zeroshot in one parameter: run it with, for example",
        ),
        (["--ablation", "apm[x"], "'apm[x' is not of the form apm[key=value,...]"),
        (["--ablation", "apm", "--partial"], "--ablation is of one complete run, and takes no other option"),
    ],
)
def test_what_cannot_be_ablated_is_refused_in_one_line(
    run: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(run), *words]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.strip().splitlines()) == 1


@given(SMALL)
def test_p_is_the_share_of_signs_whose_sum_is_as_far_from_none(differences: list[int]) -> None:
    sums = [
        abs(sum(sign * each for sign, each in zip(signs, differences, strict=True)))
        for signs in itertools.product((-1, 1), repeat=len(differences))
    ]
    expected = np.mean([each >= abs(sum(differences)) for each in sums])
    assert sign_flip_p(np.array(differences)) == pytest.approx(float(expected), abs=1e-12)


@given(st.integers(0, 400), st.integers(0, 400), st.integers(1, 5))
def test_p_of_one_answer_per_image_is_mcnemars(only_one: int, only_other: int, size: int) -> None:
    differences = np.repeat([size, -size, 0], [only_one, only_other, 10])
    assert sign_flip_p(differences) == mcnemar_p(only_one, only_other)


def test_p_of_many_images_is_that_of_the_normal_distribution() -> None:
    """The sum of many signs is nearly normal, whatever the sizes."""
    from scipy.special import ndtr

    differences = np.random.default_rng(0).integers(-8, 9, 20_000)
    differences[:200] = 3
    z = (abs(differences.sum()) - 1) / np.sqrt((differences.astype(float) ** 2).sum())
    assert sign_flip_p(differences) == pytest.approx(2 * ndtr(-z), rel=0.01)


@settings(max_examples=10)
@given(SMALL)
def test_the_interval_draws_images_with_all_of_their_answers(differences: list[int]) -> None:
    values = np.array(differences * 20)
    low, high = paired_mean_interval(values, 3 * len(values))
    drawn = np.random.default_rng(1).choice(values, (4000, len(values))).sum(1) / (3 * len(values))
    spread = float(drawn.std())
    assert [low, high] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.15 * spread + 1e-9)


def test_the_interval_of_one_answer_per_image_is_that_of_two_methods() -> None:
    differences = np.repeat([1, -1, 0], [9, 2, 30])
    assert paired_mean_interval(differences, 41) == paired_interval(9, 2, 41)


def test_a_damaged_or_incomplete_run_is_refused(run: Path) -> None:
    next((run / "records").glob("apm+*/clean/*.parquet")).unlink()
    with pytest.raises(UserError, match="is incomplete"):
        ablate(run, "apm")
