"""Sentences on what was remarked: of several conditions, cells and shards, from headers written by hand."""

from __future__ import annotations

from pathlib import Path

from records_by_hand import relabel

from apm_tta.report import write_report
from apm_tta.report.run_data import read_report_data

IGNORED = "the EXIF orientation is ignored"


def change(run: Path, pattern: str, **changes: object) -> None:
    paths = sorted((run / "records").rglob(pattern))
    assert paths
    for path in paths:
        relabel(path, **changes)


def test_the_same_images_under_every_condition_are_one_sentence(run_folder: Path) -> None:
    """Two of the first shard, one of the second, under five conditions and for two methods: three of eight images."""
    change(run_folder, "*-00000.parquet", remarks={IGNORED: 2, "a <second> remark": 1})
    change(run_folder, "*-00001.parquet", remarks={IGNORED: 1})
    assert read_report_data(run_folder).remarks == [
        "1 of 8 images: a <second> remark.",
        f"3 of 8 images: {IGNORED}.",
    ]
    write_report(run_folder)
    for name in ("results.md", "results.tex", "report.html"):
        assert f"3 of 8 images: {IGNORED}." in (run_folder / name).read_text()
    assert "<second>" not in (run_folder / "report.html").read_text()


def test_other_numbers_under_other_conditions_are_told_apart(run_folder: Path) -> None:
    """As where each condition has files of its own."""
    change(run_folder, "clean/*-00000.parquet", remarks={IGNORED: 2})
    change(run_folder, "contrast-3/*-00001.parquet", remarks={IGNORED: 1})
    expected = f"2 of 8 images under clean, 1 of 8 images under contrast 3: {IGNORED}."
    assert read_report_data(run_folder).remarks == [expected]


def test_a_cell_that_was_answered_by_another_reading_counts_once(run_folder: Path) -> None:
    """The largest count: the images of the cells are the same."""
    change(run_folder, "zeroshot/clean/*-00000.parquet", remarks={IGNORED: 2})
    assert read_report_data(run_folder).remarks == [f"2 of 8 images under clean: {IGNORED}."]


def test_warnings_are_summed_over_units_and_each_said_once(run_folder: Path) -> None:
    """Files of one unit state the same warnings; preparing is not counted by shards."""
    change(
        run_folder, "*-00000.parquet", unit="first", warnings={"PIL warns: a": 2}, setup_warnings={"timm warns: b": 1}
    )
    change(
        run_folder, "*-00001.parquet", unit="second", warnings={"PIL warns: a": 1}, setup_warnings={"timm warns: b": 1}
    )
    assert read_report_data(run_folder).remarks == ["PIL warns: a (3 times).", "timm warns: b."]


def test_of_many_warnings_ten_are_listed(run_folder: Path) -> None:
    change(run_folder, "*-00000.parquet", warnings={f"x warns: {number:02d}": 1 for number in range(25)}, unit="first")
    remarks = read_report_data(run_folder).remarks
    assert len(remarks) == 11
    assert remarks[-1] == "15 more warnings are in the metadata of the records."
