"""Two runs compared image by image, and several runs in one table; runs that do not belong together are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from records_by_hand import Row, read_plain, relabel, write_plain, write_rows

from apm_tta.cli import main
from apm_tta.data.sample import CLEAN
from apm_tta.errors import UserError
from apm_tta.harness.plan import Cell, record_file
from apm_tta.harness.storage.manifest import Numbers
from apm_tta.report.compare import compare
from apm_tta.report.published import published_number, published_table
from apm_tta.report.run_data import read_report_data


def run_of(folder: Path, like: Path, right: dict[str, str], dataset: str = "fashion-mnist", **numbers: Any) -> Path:
    """Make a run of clean images; a method's letters mark the images on which it was right (``x``)."""
    manifest = read_plain(like)
    own = manifest["numbers"]
    own["conditions"] = ["clean"]
    own["methods"] = {
        name: {"protocol": "episodic", "votes": False, "templates": "simple", "sentences": ["a photo of a {}."]}
        for name in right
    }
    own["dataset"] |= {"name": dataset, "images_per_condition": len(next(iter(right.values())))}
    own["shard_size"] = own["dataset"]["images_per_condition"]
    own |= numbers
    folder.mkdir()
    write_plain(folder, manifest)
    for name, letters in right.items():
        cell = Cell(dataset, CLEAN, "embedded", name, 3)
        rows = [
            Row(f"{index:03d}", 1, None, int(letter == "x"), [int(letter == "x")], 0.5, 1, None, [], iterations=0)
            for index, letter in enumerate(letters)
        ]
        # In reverse order, as a stream may have presented them.
        write_rows(folder / record_file(cell, 0), cell, rows[::-1] if name == "tda" else rows)
    return folder


def test_two_runs_on_an_example_worked_by_hand(tmp_path: Path, whole_run: Path) -> None:
    """Only B is right on nine images, only A on one: nine and one of ten coin flips, p = 2 (1 + 10) / 1024."""
    a = run_of(tmp_path / "a", whole_run, {"apm": "x" * 5 + "." * 15, "tda": "x" * 20})
    b = run_of(tmp_path / "b", whole_run, {"apm": "xxxx." + "x" * 9 + "." * 6, "tda": "x" * 20, "zero": "x" * 20})
    table = compare(a, b).set_index("method")
    assert list(table.index) == ["apm", "tda"], "cells that both have"
    row = table.loc["apm"]
    assert (row["n"], row["top1_a"], row["top1_b"], row["delta"]) == (20, 25.0, 65.0, 40.0)
    assert row["p_mcnemar"] == pytest.approx(22 / 1024)
    assert row["p_holm"] == pytest.approx(2 * 22 / 1024)
    assert row["delta_low"] < 40 < row["delta_high"]
    assert table.loc["tda", "delta"] == 0


def test_a_comparison_names_what_differs(tmp_path: Path, whole_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = run_of(tmp_path / "a", whole_run, {"apm": "x."})
    b = run_of(tmp_path / "b", whole_run, {"apm": "xx"}, precision="bfloat16")
    assert main(["compare", str(a), str(b), "--csv", str(tmp_path / "c.csv")]) == 0
    output = capsys.readouterr().out
    assert "They differ in (there: A, now: B): " in output
    assert "precision: float32 there, bfloat16 now" in output
    assert len(pd.read_csv(tmp_path / "c.csv")) == 1
    assert "Not compared" not in output
    c = run_of(tmp_path / "c", whole_run, {"apm": "xx", "tda": "x."})
    assert main(["compare", str(a), str(c)]) == 0
    output = capsys.readouterr().out
    assert "Not compared: tda under clean, only in B." in output
    assert "methods: tda only now" in output
    assert "methods.tda." not in output, "what only one run has is not told field by field"


def test_runs_with_different_images_are_not_compared(tmp_path: Path, whole_run: Path) -> None:
    a = run_of(tmp_path / "a", whole_run, {"apm": "x."})
    b = run_of(tmp_path / "b", whole_run, {"apm": "x."}, dataset="imagenet")
    with pytest.raises(UserError, match="used different images or labels"):
        compare(a, b)


def test_runs_without_a_common_cell_are_not_compared(tmp_path: Path, whole_run: Path) -> None:
    a = run_of(tmp_path / "a", whole_run, {"apm": "x."})
    b = run_of(tmp_path / "b", whole_run, {"zeroshot": "x."})
    with pytest.raises(UserError, match="no cell in common"):
        compare(a, b)


def test_the_best_is_marked_only_where_the_paired_test_separates_it(tmp_path: Path, whole_run: Path) -> None:
    clear = run_of(tmp_path / "a", whole_run, {"zeroshot": "." * 8 + "x" * 12, "apm": "x" * 20})
    close = run_of(tmp_path / "b", whole_run, {"zeroshot": "." * 2 + "x" * 18, "apm": "x" * 20})
    assert read_report_data(clear).results.set_index("method")["best"].to_dict() == {"zeroshot": False, "apm": True}
    assert not read_report_data(close).results["best"].any()


def test_imagenets_variants_in_one_table(tmp_path: Path, whole_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the papers' order, with the average and the average without ImageNet itself."""
    shares = {"imagenet-r": 10, "imagenet": 16, "imagenet-a": 4}
    runs = [
        str(run_of(tmp_path / name, whole_run, {"zeroshot": "x" * k + "." * (20 - k), "apm": "x" * 20}, dataset=name))
        for name, k in shares.items()
    ]
    out = tmp_path / "out"
    assert main(["report", *runs, "--out", str(out)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert rows[0] == ["method", "imagenet", "imagenet-a", "imagenet-r", "average", "OOD average"]
    assert rows[2] == ["zeroshot", "80.0", "20.0", "50.0", "50.0", "35.0"]
    assert rows[3] == ["apm", "100.0", "**100.0**", "**100.0**", "100.0", "100.0"]
    assert (out / "results.tex").read_text().count(r"\textbf{100.0}") == 2


def test_runs_that_do_not_belong_in_one_table_are_refused(
    tmp_path: Path, whole_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = run_of(tmp_path / "a", whole_run, {"zeroshot": "x."}, dataset="imagenet")
    cases = {
        "precision is float32 in the first, bfloat16 in the second": {"dataset": "imagenet-r", "precision": "bfloat16"},
        "imagenet is in two of the runs": {"dataset": "imagenet"},
    }
    for number, (message, changes) in enumerate(cases.items()):
        b = run_of(tmp_path / f"b{number}", whole_run, {"zeroshot": "x."}, **changes)
        assert main(["report", str(a), str(b), "--out", str(tmp_path / "out")]) == 1
        assert message in capsys.readouterr().err
    for field, value, message in (
        ("uncommitted", "ab" * 32, f"revisions.uncommitted: none there, {'ab' * 32} now"),
        ("engine", 2, "revisions.engine: 1 there, 2 now"),
        ("methods", {"zeroshot": 2}, "revisions.methods.zeroshot: 1 there, 2 now"),
    ):
        other = run_of(tmp_path / field, whole_run, {"zeroshot": "x."}, dataset="imagenet-r")
        manifest = read_plain(other)
        manifest["numbers"]["revisions"][field] = value
        write_plain(other, manifest)
        assert main(["report", str(a), str(other), "--out", str(tmp_path / "out")]) == 1
        assert message in capsys.readouterr().err
    c = run_of(tmp_path / "c", whole_run, {"zeroshot": "x."}, dataset="imagenet-r")
    manifest = read_plain(c)
    manifest["numbers"]["dataset"]["subset"] = "all 2 images"
    write_plain(c, manifest)
    assert main(["report", str(a), str(c), "--out", str(tmp_path / "out")]) == 1
    expected = "subset is a subset of the images (--limit 8) in the first, all images in the second"
    assert expected in capsys.readouterr().err
    assert main(["report", str(a), str(c)]) == 2
    assert not (tmp_path / "out").exists()


def test_runs_of_two_commits_that_changed_no_number_share_a_table(
    tmp_path: Path, whole_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = run_of(tmp_path / "a", whole_run, {"zeroshot": "x."}, dataset="imagenet")
    b = run_of(tmp_path / "b", whole_run, {"zeroshot": "x."}, dataset="imagenet-r")
    for path in b.rglob("*.parquet"):
        relabel(path, site={"commit": "0" * 40})
    assert main(["report", str(a), str(b), "--out", str(tmp_path / "out")]) == 0
    output = capsys.readouterr().out
    assert "commit fedcba987654" in output
    assert "commit 000000000000" in output


def test_published_numbers_are_shown_only_next_to_the_same_measurement(whole_run: Path) -> None:
    numbers: dict[str, Any] = read_plain(whole_run)["numbers"]
    numbers["dataset"] |= {"name": "imagenet", "subset": "all 50000 images"}
    numbers["teacher"] |= {"name": "ViT-B-16:openai"}
    numbers["methods"]["tpt"] = {
        "protocol": "episodic",
        "votes": False,
        "templates": "dataset",
        "sentences": ["a photo of a {}."],
    }
    published = published_number(Numbers.model_validate(numbers), "tpt", "clean")
    assert published is not None
    assert (published.top1, published.differs) == (68.98, "")
    assert published_number(Numbers.model_validate(numbers), "tpt", "fog 3") is None
    assert published_number(Numbers.model_validate(numbers), "sar", "clean") is None
    numbers["dataset"]["subset"] = "1000 of 50000 images"
    of_subset = published_number(Numbers.model_validate(numbers), "tpt", "clean")
    assert of_subset is not None
    assert of_subset.differs == "here a subset of the images"


def test_published_data_sets_have_the_names_of_our_cards() -> None:
    names = set(published_table()["dataset"])
    assert {"fgvc_aircraft", "oxford_pets", "stanford_cars", "imagenet-v2-matched-frequency"} <= names
    assert not names & {"fgvc-aircraft", "oxford-pets", "stanford-cars", "imagenet-v2"}
