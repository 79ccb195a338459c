"""Records and runs that could silently yield a wrong number: each is refused, marked, or shown as no number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records_by_hand import Row, read_plain, write_plain, write_rows

from apm_tta.cli import main
from apm_tta.configuration import read_yaml
from apm_tta.data.sample import CLEAN, Condition
from apm_tta.errors import UserError
from apm_tta.harness.plan import Cell, record_file
from apm_tta.harness.storage.manifest import Numbers
from apm_tta.methods.base import METHODS
from apm_tta.report import write_report
from apm_tta.report.aggregate import mean_over_corruptions
from apm_tta.report.compare import compare, comparison_text
from apm_tta.report.published import published_number
from apm_tta.report.published_rows import sentences
from apm_tta.report.render import markdown_text
from apm_tta.report.run_data import read_report_data
from apm_tta.report.statistics import BINS, calibration_error, reliability
from apm_tta.resources import PUBLISHED

FOG = Condition("fog", 3)
Change = Callable[[list[Row], str, Condition], list[Row]]


def rows_of(letters: str) -> list[Row]:
    """Make one row per letter: ``x`` for a right answer, ``e`` for an image that could not be read."""
    return [
        Row(f"{index:03d}", 1, error="cut short")
        if letter == "e"
        else Row(f"{index:03d}", 1, None, int(letter == "x"), [int(letter == "x")], 0.5, 1, None, [], iterations=0)
        for index, letter in enumerate(letters)
    ]


def run_of(
    folder: Path,
    like: Path,
    right: dict[str, str],
    conditions: Sequence[Condition] = (CLEAN,),
    dataset: str = "fashion-mnist",
    change: Change = lambda rows, *_: rows,
    **numbers: Any,
) -> Path:
    """Make a run whose methods have the same letters under every condition; without rows there is no file."""
    manifest = read_plain(like)
    own = manifest["numbers"]
    own["conditions"] = [str(condition) for condition in conditions]
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
        for condition in conditions:
            online = own["methods"][name]["protocol"] == "online"
            setting = own["streams"]["setting"] if online else "episodic"
            cell = Cell(dataset, condition, "embedded", name, 3, setting)
            rows, size = change(rows_of(letters), name, condition), own["shard_size"]
            for index, start in enumerate(range(0, len(rows), size)):
                write_rows(folder / record_file(cell, index), cell, rows[start : start + size])
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prediction": None}, "apm has no prediction for image 001 and no error"),
        ({"top5": None}, "apm has no top5 for image 001"),
        ({"teacher_prediction": None}, "apm has no teacher_prediction for image 001"),
        ({"confidence": None}, "the confidence of apm on image 001 is not a number"),
        ({"confidence": 1.001}, "the confidence of apm on image 001 is 1.001, not a probability"),
        ({"confidence": -0.1}, "the confidence of apm on image 001 is -0.1, not a probability"),
        ({"target_prediction": 1}, "only some images of apm have a target_prediction"),
        ({"label": 2}, "have different labels for image 001"),
    ],
)
def test_an_incomplete_answer_is_refused_and_not_counted_as_wrong(
    tmp_path: Path, whole_run: Path, changes: dict[str, Any], message: str
) -> None:
    def change(rows: list[Row], method: str, condition: Condition) -> list[Row]:
        return [rows[0], replace(rows[1], **changes), *rows[2:]] if method == "apm" else rows

    run = run_of(tmp_path / "run", whole_run, {"zeroshot": "xx.x", "apm": "xx.x"}, change=change)
    with pytest.raises(UserError, match=message) as caught:
        read_report_data(run)
    assert "\n" not in str(caught.value)


def test_a_confidence_that_rounding_puts_above_one_counts_as_one(tmp_path: Path, whole_run: Path) -> None:
    def change(rows: list[Row], method: str, condition: Condition) -> list[Row]:
        return [replace(rows[0], confidence=float(np.nextafter(np.float32(1), np.float32(2)))), *rows[1:]]

    run = run_of(tmp_path / "run", whole_run, {"zeroshot": "xx.."}, change=change)
    # One answer in the last bin, right with confidence 1; three in the middle bin, of which one is right.
    assert read_report_data(run).results["ece"].tolist() == pytest.approx([100 * 3 / 4 * (1 / 2 - 1 / 3)])


answers = st.lists(st.tuples(st.floats(0, 1, width=32) | st.sampled_from([0.0, 1.0]), st.booleans()), min_size=1)


@given(answers)
def test_the_diagrams_bins_add_up_to_the_calibration_error(pairs: list[tuple[float, bool]]) -> None:
    """Including answers with confidence 1, of which there are many where logits are scaled by 100: no 16th bin."""
    confidence, right = np.array([value for value, _ in pairs]), np.array([hit for _, hit in pairs])
    bins = reliability(confidence, right)
    assert sum(one["count"] for one in bins) == len(pairs)
    assert all(one["bin_low"] <= one["confidence"] <= one["bin_high"] for one in bins)
    gaps = [one["count"] * abs(one["confidence"] - one["accuracy"]) for one in bins]
    assert calibration_error(confidence, right) == pytest.approx(sum(gaps) / len(pairs), abs=1e-6)


def test_answers_with_confidence_one_share_the_last_bin() -> None:
    """0.95 and right, 1 and right half of the time: (0.95 + 1 + 1) / 3 against 2 / 3 in one bin."""
    confidence, right = np.array([0.95, 1.0, 1.0]), np.array([True, True, False])
    assert BINS == 15
    assert calibration_error(confidence, right) == pytest.approx(2.95 / 3 - 2 / 3, abs=1e-6)


@pytest.mark.parametrize("confidence", [1.0000001, -0.5, float("nan")])
def test_a_confidence_that_is_not_a_probability_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="not a probability"):
        calibration_error(np.array([0.5, confidence]), np.array([True, False]))


def test_a_mean_that_lacks_a_corruption_is_nan(tmp_path: Path, whole_run: Path) -> None:
    """No image could be read under fog: the value of the other corruption is not the mean of two."""

    def change(rows: list[Row], method: str, condition: Condition) -> list[Row]:
        return rows_of("e" * len(rows)) if condition == FOG else rows

    conditions = [FOG, Condition("snow", 3)]
    run = run_of(tmp_path / "run", whole_run, {"zeroshot": "xx.."}, conditions, change=change)
    (row,) = mean_over_corruptions(read_report_data(run).results).to_dict("records")
    assert row["corruptions"] == 2
    assert np.isnan([row["top1"], row["agreement"]]).all()


@pytest.mark.parametrize(("others", "best"), [(1, True), (2, False)])
def test_the_best_is_tested_against_every_other_with_holms_correction(
    tmp_path: Path, whole_run: Path, others: int, best: bool
) -> None:
    """Six images that only the best gets right: p = 2 / 64 for each other method; corrected for two tests, 4 / 64."""
    right = {"apm": "x" * 20, **{f"other{index}": "x" * 14 + "." * 6 for index in range(others)}}
    results = read_report_data(run_of(tmp_path / "run", whole_run, right)).results.set_index("method")
    assert results.loc["apm", "best"] == best
    assert results["best"].sum() == best


def test_a_run_without_a_complete_cell_has_no_table(tmp_path: Path, whole_run: Path) -> None:
    run = run_of(tmp_path / "run", whole_run, {"zeroshot": "xxxx"}, change=lambda rows, *_: rows[:3], shard_size=1)
    with pytest.raises(UserError, match="has no complete cell to show; rerun the same command with --out"):
        write_report(run, partial=True)
    assert not (run / "results.csv").exists()


def test_of_many_missing_cells_the_first_few_are_named(tmp_path: Path, whole_run: Path) -> None:
    conditions = [CLEAN, *(Condition("fog", severity) for severity in (1, 2, 3, 4, 5))]
    run = run_of(
        tmp_path / "run",
        whole_run,
        {"zeroshot": "xxxx"},
        conditions,
        change=lambda rows, _, condition: rows if condition == CLEAN else rows[:1],
        shard_size=1,
    )
    with pytest.raises(UserError, match=r"lacks 5 of 6 cells \(3 of 4 images of fog 1, zeroshot, seed 3; .*; and 2 m"):
        write_report(run)
    assert "and 2 more)." in write_report(run, partial=True).text


def test_another_versions_manifest_is_named(run_folder: Path) -> None:
    manifest = read_plain(run_folder)
    manifest["numbers"]["seed"] = manifest["numbers"].pop("seeds")
    write_plain(run_folder, manifest)
    for call in (lambda: write_report(run_folder), lambda: compare(run_folder, run_folder)):
        with pytest.raises(UserError, match=r"run.yaml is another version's \(numbers.seeds: Field required"):
            call()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gaussian_noise of my_set", "gaussian_noise of my_set"),
        ("_cat_ __dog__", r"\_cat\_ \_\_dog\_\_"),
        ("~~no~~", r"\~\~no\~\~"),
        ("<b>|*x*", r"&lt;b&gt;\|\*x\*"),
        ("apm[target=mta] < 0.001 & more", "apm[target=mta] < 0.001 & more"),
        ("[a](b) [a][b] [a]: b [^a]", r"[a\](b) [a\][b] [a\]: b \[^a]"),
    ],
)
def test_no_name_becomes_emphasis(text: str, expected: str) -> None:
    assert markdown_text(text) == expected


def test_the_note_about_unread_images_is_plain_text(tmp_path: Path, whole_run: Path) -> None:
    run = run_of(tmp_path / "run", whole_run, {"zeroshot": "xxe."})
    text = write_report(run).text
    assert "1 image could not be read and has no answer (column errors; errors.csv): 002." in text
    assert "\\*" not in text


def only_row(a: Path, b: Path) -> dict[str, Any]:
    (row,) = compare(a, b).to_dict("records")
    return row


def test_runs_with_different_conditions_compare_where_both_have_the_same_images(
    tmp_path: Path, whole_run: Path
) -> None:
    """A fingerprint covers all conditions: where these differ, the records decide whether the images are the same."""
    a = run_of(tmp_path / "a", whole_run, {"apm": "x..."})
    b = run_of(tmp_path / "b", whole_run, {"apm": "xx.."}, [CLEAN, FOG])
    manifest = read_plain(b)
    manifest["numbers"]["dataset"]["fingerprint"] = "e" * 64
    write_plain(b, manifest)
    assert only_row(a, b)["delta"] == 25
    manifest["numbers"]["conditions"] = ["clean"]
    write_plain(b, manifest)
    with pytest.raises(UserError, match=r"dataset.fingerprint: f{12}... and e{12}..."):
        compare(a, b)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"id": "other"}, "has different images, such as 000"), ({"label": 2}, "has different labels for image 000")],
)
def test_images_that_only_look_the_same_are_not_compared(
    tmp_path: Path, whole_run: Path, changes: dict[str, Any], message: str
) -> None:
    a = run_of(tmp_path / "a", whole_run, {"apm": "x..."})
    b = run_of(
        tmp_path / "b",
        whole_run,
        {"apm": "x..."},
        change=lambda rows, *_: [replace(rows[0], **changes), *rows[1:]],
    )
    with pytest.raises(UserError, match=message):
        compare(a, b)


def test_a_comparison_of_subsets_is_refused_and_of_an_incomplete_run_marked(tmp_path: Path, whole_run: Path) -> None:
    a = run_of(tmp_path / "a", whole_run, {"apm": "x..."})
    incomplete = run_of(tmp_path / "b", whole_run, {"apm": "x..."}, change=lambda rows, *_: rows[1:], shard_size=1)
    assert only_row(a, incomplete)["n"] == 3
    text = comparison_text(a, incomplete, compare(a, incomplete))
    assert "Incomplete: in 1 of 1 row, fewer than 4 images were answered by both." in text
    other = run_of(tmp_path / "c", whole_run, {"apm": "x..x.."})
    with pytest.raises(UserError, match=r"dataset.images_per_condition: 4 and 6"):
        compare(a, other)


def test_records_that_a_manifest_does_not_name_are_not_compared(tmp_path: Path, whole_run: Path) -> None:
    a = run_of(tmp_path / "a", whole_run, {"apm": "x..."}, [CLEAN, FOG])
    manifest = read_plain(a)
    manifest["numbers"]["conditions"] = ["clean"]
    write_plain(a, manifest)
    with pytest.raises(UserError, match=r"does not name: records/apm/fog-3/.*; move them out of"):
        compare(a, a)


def published(whole_run: Path, method: str, dataset: str = "imagenet", **parameters: Any) -> str:
    """Describe how a published number differs from a run of all images with text weights and these parameters."""
    numbers: dict[str, Any] = read_plain(whole_run)["numbers"]
    teacher = parameters.pop("teacher", "ViT-B-16:openai")
    setting = parameters.pop("setting", "iid")
    numbers["dataset"] |= {"name": dataset, "subset": "all 50000 images"}
    numbers["teacher"] |= {"name": teacher}
    numbers["streams"] = {"setting": setting, "reset": "corruption"}
    recorded = {
        "protocol": "episodic",
        "votes": False,
        "templates": "dataset",
        "sentences": ["a photo of a {}."],
        **parameters,
    }
    numbers["methods"] = {method: recorded}
    number = published_number(Numbers.model_validate(numbers), method, "clean")
    assert number is not None
    return number.differs


@pytest.mark.parametrize(
    ("method", "changes", "differs"),
    [
        ("zeroshot", {"templates": "dataset", "sentences": ["a photo of a {}."]}, ""),
        (
            "zeroshot",
            {"templates": "openai80", "sentences": ["a photo of a {}."]},
            "templates dataset published, openai80 here",
        ),
        ("ensemble", {"templates": "openai80", "dataset": "objectnet"}, ""),
        (
            "ensemble",
            {"templates": "openai80", "dataset": "cifar10"},
            "published with its own templates for this set",
        ),
        (
            "ensemble",
            {"templates": "file", "sentences": list(sentences("cifar.txt")), "dataset": "cifar100"},
            "published with underscores in class names",
        ),
        (
            "ensemble",
            {"templates": "openai80", "dataset": "oxford_pets"},
            "published with its own templates for this set",
        ),
        ("ensemble", {"templates": "dataset", "dataset": "oxford_pets"}, ""),
        (
            "ensemble",
            {"templates": "openai80", "dataset": "dtd"},
            "published of the test images of split 1",
        ),
        ("tpt", {"views": 64, "steps": 1}, ""),
        ("tpt", {"views": 8, "steps": 1}, "views 64 published, 8 here"),
        (
            "apm",
            {"teacher": "ViT-H-14-quickgelu:dfn5b", "dataset": "imagenet-a", "iterations": 20},
            "iterations 1200 published, 20 here",
        ),
        (
            "tda",
            {"teacher": "RN50:openai", "templates": "simple7", "sentences": ["a photo of a {}."], "protocol": "online"},
            "",
        ),
        (
            "tda",
            {
                "teacher": "RN50:openai",
                "templates": "dataset",
                "sentences": ["a photo of a {}."],
                "protocol": "online",
                "setting": "mixed",
            },
            "templates simple7 published, dataset here; here a mixed stream",
        ),
        (
            "tda",
            {
                "teacher": "RN50:openai",
                "dataset": "eurosat",
                "templates": "dataset",
                "sentences": ["{}"],
                "protocol": "online",
            },
            "",
        ),
    ],
)
def test_a_published_number_with_another_protocol_is_marked(
    whole_run: Path, method: str, changes: dict[str, Any], differs: str
) -> None:
    assert published(whole_run, method, **changes) == differs


def test_published_protocols_name_our_parameters() -> None:
    """A misspelt parameter would never be compared."""
    protocols = read_yaml(PUBLISHED / "protocols.yaml")
    for method, protocol in protocols.items():
        known = set(asdict(METHODS.get(method).Parameters()))
        assert {name for key, part in protocol.items() if key != "tuned" for name in part} <= known


def test_methods_with_different_parameters_do_not_share_a_row(
    tmp_path: Path, whole_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(name: str, iterations: int) -> str:
        methods = {
            "apm": {
                "protocol": "episodic",
                "votes": False,
                "templates": "dataset",
                "sentences": ["x"],
                "iterations": iterations,
            }
        }
        return str(run_of(tmp_path / name, whole_run, {"apm": "x."}, dataset=name, methods=methods))

    few, same, more = run("imagenet", 20), run("imagenet-r", 20), run("imagenet-a", 1200)
    out = str(tmp_path / "out")
    assert main(["report", few, same, "--out", out]) == 0
    assert main(["report", few, more, "--out", str(tmp_path / "none")]) == 1
    assert "apm.iterations is 20 on imagenet, 1200 on imagenet-a" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    assert main(["report", run("set-a", 20), run("set-b", 1200), "--out", out]) == 0
    assert "Not the same on every set: apm.iterations is 20 on set-a, 1200 on set-b." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"protocol": "episodic"}, "tda.protocol is online on imagenet, episodic on imagenet-r"),
        ({"votes": True}, "tda.votes is False on imagenet, True on imagenet-r"),
        (
            {"streams": {"setting": "correlated", "reset": "corruption"}},
            "tda.streams is {'setting': 'iid', 'reset': 'corruption'} on imagenet, "
            "{'setting': 'correlated', 'reset': 'corruption'} on imagenet-r",
        ),
    ],
)
def test_methods_with_different_streams_or_protocols_do_not_share_a_row(
    tmp_path: Path, whole_run: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], message: str
) -> None:
    """Their parameters are the same; everything else that the manifest records of them is compared too."""

    def run(name: str, **other: Any) -> str:
        streams = other.pop("streams", {"setting": "iid", "reset": "corruption"})
        methods = {"tda": {"protocol": "online", "votes": False, "templates": "dataset", "sentences": ["x"], **other}}
        folder = run_of(tmp_path / name, whole_run, {"tda": "x."}, dataset=name, methods=methods, streams=streams)
        return str(folder)

    out = tmp_path / "out"
    assert main(["report", run("imagenet"), run("imagenet-r", **changes), "--out", str(out)]) == 1
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_papers_tables_of_corruptions_and_costs(
    tmp_path: Path, whole_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A set without clean images has no column in the tables of clean images, but a table of its own."""
    clean = run_of(tmp_path / "a", whole_run, {"zeroshot": "x..."}, dataset="eurosat")
    corrupted = run_of(tmp_path / "b", whole_run, {"zeroshot": "xxx."}, [FOG], dataset="imagenet-c")
    assert main(["report", str(clean), str(corrupted), "--out", str(tmp_path / "out")]) == 0
    output = capsys.readouterr().out
    assert [line for line in output.splitlines() if line.startswith("#")] == [
        "# Methods by data set",
        "## Fine-grained sets",
        "## imagenet-c: Top-1 by corruption, severity 3",
        "## eurosat: Cost",
        "## imagenet-c: Cost",
    ]
    assert "| method   |   eurosat |   average |" in output
    assert (tmp_path / "out" / "results.tex").read_text().count(r"\begin{tabular}") == 4
