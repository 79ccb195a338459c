"""The text around the numbers in the Markdown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from records_by_hand import read_plain

from apm_tta.harness.storage.manifest import Manifest
from apm_tta.report.aggregate import mean_over_corruptions, merge_seeds
from apm_tta.report.caption import caption, disagreement_sentence
from apm_tta.report.render import markdown
from apm_tta.report.results_table import results_table
from apm_tta.report.run_data import ReportData
from apm_tta.report.tables import iterations_table, means_table


def cells(table: str) -> list[list[str]]:
    """Return the cells of a Markdown table, without the line below its header."""
    table_lines = [line for line in table.splitlines() if line.startswith("|")]
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table_lines]
    assert len({len(line) for line in lines}) == 1, "every line has the same number of cells"
    return [lines[0], *lines[2:]]


def test_the_results_table_has_one_line_per_cell(results: pd.DataFrame) -> None:
    head, *lines = cells(markdown(results_table(merge_seeds(results))))
    assert head == [
        *("condition", "method", "n", "top-1 %", "95 % interval", "vs zeroshot", "its interval", "p", "ECE %"),
        *("agreement %", "latency p50 ms", "time / zeroshot (one kind of machine only)", "images/s"),
    ]
    assert len(lines) == 10
    unpaired = ["n/a"] * 3
    assert lines[2] == [
        *("pixelate 3", "zeroshot", "8", "50.0", "21.5 .. 78.5", *unpaired, "0.0", "100.0", "25.0", "1.0", "500")
    ]
    assert lines[1][:6] == ["clean", "apm", "8", "75.0", "40.9 .. 92.9", "+0.0"]
    assert lines[1][7:] == ["1.000", "25.0", "75.0", "125.0", "4.0", "125"]


def test_a_latency_that_was_not_measured_is_not_shown_as_a_number(results: pd.DataFrame) -> None:
    last = cells(markdown(results_table(merge_seeds(results))))[-1]
    assert last[:5] == ["contrast 5", "apm", "8", "0.0", "0.0 .. 32.4"]
    assert last[-4:] == ["87.5", "n/a", "4.0", "125"]


def test_the_table_of_means_states_the_number_of_corruptions(results: pd.DataFrame) -> None:
    assert cells(markdown(means_table(mean_over_corruptions(results))))[1:] == [
        ["mean of 2, severity 3", "zeroshot", "37.5", "100.0"],
        ["mean of 2, severity 3", "apm", "43.8", "68.8"],
        ["mean of 2, severity 5", "zeroshot", "6.2", "100.0"],
        ["mean of 2, severity 5", "apm", "12.5", "81.2"],
    ]


def test_the_table_by_iteration_has_one_line_per_iteration_and_two_columns_per_group(data: ReportData) -> None:
    head, *lines = cells(markdown(iterations_table(data.iterations, data.fits, "apm", "")))
    assert head == [
        "iteration",
        "clean: top-1 %",
        "clean: agreement %",
        "severity 3: top-1 %",
        "severity 3: agreement %",
        "severity 5: top-1 %",
        "severity 5: agreement %",
    ]
    assert lines == [
        ["0", "0.0", "0.0", "0.0", "0.0", "0.0", "0.0"],
        ["1", "75.0", "100.0", "31.2", "100.0", "0.0", "100.0"],
        ["2", "75.0", "75.0", "43.8", "68.8", "12.5", "81.2"],
    ]


@pytest.mark.parametrize("last", [0, 1, 6, 7, 8, 20, 60, 1200])
def test_of_many_iterations_eight_are_shown_including_the_first_and_the_last(last: int) -> None:
    table = pd.DataFrame(
        {
            "group": "clean",
            "method": "apm",
            "iteration": range(last + 1),
            "top1": 50.0,
            "agreement": [float(i) for i in range(last + 1)],
        }
    )
    lines = cells(markdown(iterations_table(table, pd.DataFrame({"method": []}), "apm", "")))[1:]
    shown = [int(line[0]) for line in lines]
    assert len(shown) == min(last + 1, 8)
    assert (shown[0], shown[-1]) == (0, last)
    assert [line[2] for line in lines] == [f"{iteration:.1f}" for iteration in shown], "values are in their own line"


def test_the_caption_states_everything_that_a_table_must(data: ReportData) -> None:
    """n and the subset rule, teacher and weights, templates per method, protocol, seed, precision, commit, machine."""
    text = caption(data.manifest, data.sites)
    for part in (
        "Fashion-MNIST, 2,000 test images (fashion-mnist)",
        "8 of 2000 images, evenly over classes (--limit 8)",
        "CIFAR-10-C",
        "embedded (weights 0123456789ab)",
        'zeroshot "a photo of a {}.", apm simple',
        "class weights from text",
        "protocol: episodic;",
        "seeds 3",
        "float32",
        "apm-tta 0.1.0, commit fedcba987654",
        "An Abacus, 2 threads, 2024-05-06T07:08:09+00:00",
    ):
        assert part in text


def test_the_caption_names_both_protocols_where_methods_differ_and_imagenets_severities(
    whole_run: Path, data: ReportData
) -> None:
    manifest: dict[str, Any] = read_plain(whole_run)
    manifest["numbers"]["methods"]["tent"] = {
        "protocol": "online",
        "votes": False,
        "templates": "simple",
        "sentences": ["a photo of a {}."],
    }
    manifest["numbers"]["dataset"]["corruption_parameters"] = "imagenet"
    text = caption(Manifest.model_validate(manifest), data.sites)
    assert "protocol: episodic, online;" in text
    assert "ImageNet-C" in text
    assert "CIFAR" not in text


def test_the_sentence_about_disagreement_has_its_four_numbers() -> None:
    counts = {"answers": 40, "different": 10, "method_right": 6, "teacher_right": 2}
    assert disagreement_sentence("apm", counts) == (
        "apm gave the same answer as its teacher 75.0 % of the time. They differed in 10 of 40 answers, "
        "of which apm was right in 6 and the teacher in 2."
    )
