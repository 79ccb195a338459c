"""Runs from the command line on users' folder trees: damaged files, labelled images, caches, streams, targets."""

from __future__ import annotations

import csv
import html
import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml

from apm_tta.cli import main
from apm_tta.data.dataset import open_dataset
from apm_tta.data.sample import CLEAN
from apm_tta.teachers import lazy_teacher


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def save(folder: Path, positions: range) -> Path:
    """Save real images in one folder per class, as a user would sort them."""
    dataset = open_dataset("fashion-mnist")
    by_class: dict[int, list] = {}
    for entry in dataset.entries(CLEAN):
        by_class.setdefault(entry.label, []).append(entry)
    for label, entries in by_class.items():
        place = folder / dataset.classes[label].replace("/", " or ")
        place.mkdir(parents=True)
        for position in positions:
            dataset.read(entries[position], CLEAN).image.save(place / f"{position}.png")
    return folder


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("tree") / "test", range(4))


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("tree") / "labelled", range(100, 106))


def run(out: Path, root: Path, *words: str) -> int:
    fixed = ["folder", "--teacher", "embedded", "--data-root", str(root), "--out", str(out), "--quiet"]
    return main([*fixed, *words])


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_damaged_image_is_an_error_row_and_the_run_ends_with_a_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], workers: str
) -> None:
    root = save(tmp_path / "test", range(3))
    damaged = next(root.glob("Coat/1.png"))
    damaged.write_bytes(damaged.read_bytes()[:100])
    out = tmp_path / "run"
    assert run(out, root, "--methods", "zeroshot,apm", "--workers", workers) == 3
    captured = capsys.readouterr()
    assert "1 image could not be read and has no answer (column errors; errors.csv): Coat/1.png" in captured.out
    assert captured.err == (
        f"run-bench: 2 answers are missing: images could not be read (1 damaged); {out}/errors.csv names them; "
        f"replace what is damaged, then rerun the same command with --out {out} to resume\n"
    )
    rows = read_csv(out / "results.csv")
    assert [(row["method"], row["n"], row["errors"]) for row in rows] == [("zeroshot", "29", "1"), ("apm", "29", "1")]
    (error,) = read_csv(out / "errors.csv")
    assert error["id"] == "Coat/1.png"
    assert "is not a readable image" in error["error"]
    assert main(["report", str(out)]) == 0

    root.joinpath("Coat/1.png").write_bytes(damaged.with_name("0.png").read_bytes())


def test_the_command_that_a_report_states_makes_the_same_numbers_from_anywhere(
    tmp_path: Path, tree: Path, labelled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Folders with blanks in their names, relative to where the run was begun, and options of every kind."""
    shutil.copytree(tree, tmp_path / "my images")
    shutil.copytree(labelled, tmp_path / "my labels")
    monkeypatch.chdir(tmp_path)
    words = ["--methods", "zeroshot,tda", "--classifier", "prototypes", "--shots", "5", "--limit", "10"]
    words += ["--support", "my labels", "--set", "tda.positive_alpha=1.5", "--seeds", "2", "--corruptions", "fog"]
    assert run(Path("run"), Path("my images"), *words, "--severities", "2", "--batch-size", "7") == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    page = (tmp_path / "run" / "report.html").read_text()
    command = html.unescape(re.search(r'aria-label="Command"><code>(.*)</code>', page)[1])  # type: ignore[index]
    text = (tmp_path / "run" / "results.md").read_text()
    assert f"\n\n    {command}\n" in text
    assert text.startswith("# Image folder (")
    assert "clean and 1 corruption at severity 2, 10 images each" in text.splitlines()[0]
    name, *again = shlex.split(command)
    assert name == "run-bench"
    assert main([*again, "--out", "again", "--quiet"]) == 0
    tables = [read_csv(folder / "results.csv") for folder in (tmp_path / "run", Path("again"))]
    timed = ("latency", "images_per_s", "peak_memory", "time")
    first, second = ([{k: v for k, v in row.items() if not k.startswith(timed)} for row in rows] for rows in tables)
    assert first == second
    assert main(["compare", "again", str(tmp_path / "run")]) == 0
    assert "nothing that decides a number" in capsys.readouterr().out


def test_runs_that_answered_none_of_the_same_images_are_said_to_be_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("bag", "coat"):
        (tmp_path / "images" / name).mkdir(parents=True)
        (tmp_path / "images" / name / "0.png").write_bytes(b"no picture")
    for out in ("a", "b"):
        assert run(tmp_path / out, tmp_path / "images", "--methods", "zeroshot") == 3
        assert "2 answers are missing: images could not be read" in capsys.readouterr().err
    assert main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    said = capsys.readouterr().err
    assert "have 1 cell in common, but no image that both answered: the images could not be read" in said


def test_prototypes_and_neighbours_from_labelled_images(
    tmp_path: Path, tree: Path, labelled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Six labelled images per class: both are far above chance, and the manifest identifies the images."""
    out = tmp_path / "run"
    words = ("--methods", "zeroshot,knn", "--classifier", "prototypes", "--support", str(labelled), "--shots", "6")
    assert run(out, tree, *words) == 0
    assert "class weights from prototypes; templates: none" in capsys.readouterr().out
    accuracy = {row["method"]: float(row["top1"]) for row in read_csv(out / "results.csv")}
    assert min(accuracy.values()) > 60
    manifest = yaml.safe_load((out / "run.yaml").read_text())["numbers"]
    assert len(manifest["teacher"]["support_sha256"]) == 64
    assert manifest["teacher"]["shots"] == 6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--classifier", "prototypes"), "give --support FOLDER"),
        (("--methods", "knn"), "give --support FOLDER"),
        (("--classifier", "head"), "has no head"),
        (("--setting", "mixed", "--reset", "corruption", "--methods", "tent"), "mixed has no borders"),
        (("--jpeg-quality", "200"), "jpeg_quality"),
        (("--jpeg-quality", "85"), "has no effect"),
        (("--dataset", "fashion-mist"), "unknown dataset"),
    ],
)
def test_impossible_options_are_refused_before_anything_runs(
    tmp_path: Path, tree: Path, words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "run", tree, *words) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_second_run_with_the_feature_cache_does_not_build_the_teacher(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--methods", "zeroshot,ensemble", "--feature-cache")
    monkeypatch.setenv("APM_TTA_CACHE", str(tmp_path / "cache"))
    assert run(tmp_path / "first", tree, *words) == 0

    def refuse(self: object) -> None:
        raise AssertionError("the model was built")

    monkeypatch.setattr(lazy_teacher.LazyTeacher, "built", property(refuse))
    assert run(tmp_path / "second", tree, *words) == 0
    first, second = (read_csv(tmp_path / name / "results.csv") for name in ("first", "second"))
    assert [(row["method"], row["top1"], row["top5"]) for row in first] == [
        (row["method"], row["top1"], row["top5"]) for row in second
    ]
    assert [row["images_per_s"] for row in second] == ["", ""], "the time of cached features was not measured"
    assert all(float(row["images_per_s"]) > 0 for row in first)


def test_another_image_with_the_same_name_is_not_taken_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APM_TTA_CACHE", str(tmp_path / "cache"))
    root = save(tmp_path / "test", range(2))
    words = ("--methods", "zeroshot", "--feature-cache")
    assert run(tmp_path / "first", root, *words) == 0
    coat, bag = root / "Coat" / "0.png", root / "Bag" / "0.png"
    coat.write_bytes(bag.read_bytes())
    assert run(tmp_path / "second", root, *words) == 0
    (before,), (after,) = (read_csv(tmp_path / name / "results.csv") for name in ("first", "second"))
    assert float(after["top1"]) < float(before["top1"])


@pytest.mark.parametrize("setting", ["iid", "continual", "mixed", "correlated"])
def test_the_setting_of_a_stream_is_a_column(tmp_path: Path, setting: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    words = ["--limit", "10", "--corruptions", "contrast,pixelate", "--severities", "3", "--out", str(out), "--quiet"]
    assert main(["demo", "--methods", "zeroshot,tda,tent", "--setting", setting, *words]) == 0
    rows = read_csv(out / "results.csv")
    assert {(row["method"], row["setting"]) for row in rows} == {
        ("zeroshot", "episodic"),
        ("tda", setting),
        ("tent", setting),
        ("norm", setting),  # what tent is to be compared with
    }
    assert all(row["n"] == "10" for row in rows)
    reset = "dataset" if setting in ("continual", "mixed") else "corruption"
    assert f"({setting} streams, reset: {reset})" in capsys.readouterr().out


def test_an_online_run_that_lost_a_cell_answers_its_stream_again_with_the_same_table(tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ["--limit", "10", "--corruptions", "contrast,pixelate", "--severities", "3", "--out", str(out), "--quiet"]
    command = ["demo", "--methods", "zeroshot,tda", "--setting", "continual", *words]
    assert main(command) == 0
    before = [(row["method"], row["corruption"], row["top1"], row["top5"]) for row in read_csv(out / "results.csv")]
    next((out / "records" / "tda").glob("pixelate-3/*.parquet")).unlink()
    assert main(command) == 0
    after = [(row["method"], row["corruption"], row["top1"], row["top5"]) for row in read_csv(out / "results.csv")]
    assert after == before


def test_an_apm_fitted_to_a_consensus_adds_the_method_of_that_consensus(tmp_path: Path, tree: Path) -> None:
    out = tmp_path / "run"
    words = ("--methods", "zeroshot,apm", "--set", "apm.target=vte", "--set", "apm.views=8")
    words += ("--set", "apm.iterations=4", "--limit", "10")
    assert run(out, tree, *words) == 0
    rows = {row["method"]: row for row in read_csv(out / "results.csv")}
    assert list(rows) == ["zeroshot", "apm", "vte"]
    assert rows["apm"]["agreement_target"] != ""
    assert rows["zeroshot"]["agreement_target"] == ""


def test_a_data_root_in_the_environment_does_not_affect_the_embedded_data(
    tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("APM_TTA_DATA_ROOT", str(tree))
    words = ["--limit", "10", "--corruptions", "", "--methods", "zeroshot", "--quiet"]
    assert main(["demo", *words, "--out", str(tmp_path / "demo")]) == 0
    assert main(["folder", "--teacher", "embedded", *words, "--out", str(tmp_path / "folder")]) == 0
    assert main(["demo", *words, "--data-root", str(tree), "--out", str(tmp_path / "refused")]) == 2
    assert "carried by the package" in capsys.readouterr().err
