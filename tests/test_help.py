"""What helps: the first steps, the nearest name, ``--verbose``, and ``run-bench doctor``."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from apm_tta.api import doctor
from apm_tta.cli import main
from apm_tta.errors import did_you_mean


def test_without_arguments_three_things_to_do_first_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    shown = capsys.readouterr().err
    commands = re.findall(r"^  run-bench (\w+)", shown, flags=re.MULTILINE)
    assert commands == ["demo", "folder", "doctor"]
    for command in commands:
        assert main([command, "--help"]) == 0
    assert len(shown.splitlines()) <= 8


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        (["demoo"], "demo"),
        (["reprot", "x"], "report"),
        (["demo", "--methods", "TNET"], "tent"),
        (["demo", "--methods", "apm[iteration=3]"], "iterations"),
        (["demo", "--teacher", "ViT-B16:openai"], "ViT-B-16:openai"),
        (["demo", "--teacher", "embeded-resnet"], "embedded-resnet"),
        (["demo", "--teacher", "ViT-B-16:open_ai"], "openai"),
        (["demo", "--dataset", "fashon-mnist"], "fashion-mnist"),
        (["check", "ImageNet-Sketch"], "imagenet-sketch"),
        (["doctor", "imagnet-c"], "imagenet-c"),
        (["demo", "--corruptions", "gausian_noise"], "gaussian_noise"),
        (["demo", "--setting", "continuous"], "continual"),
        (["demo", "--set", "apm.iteratons=3"], "iterations"),
        (["list", "method"], "methods"),
    ],
)
def test_a_mistyped_name_suggests_the_nearest(
    words: list[str], nearest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    line = capsys.readouterr().err
    assert line.endswith(f"did you mean {nearest}?\n")
    assert line.count("\n") == 1


def test_a_mistyped_option_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--corruption", "fog"]) == 2
    assert "'--corruptions'" in capsys.readouterr().err


def test_what_looks_like_nothing_suggests_nothing() -> None:
    assert did_you_mean("xyz", ["tent", "apm"]) == ""
    assert did_you_mean("x" * 5000, ["tent"]) == ""


@pytest.mark.parametrize("words", [["report", "/nowhere", "--verbose"], ["--verbose", "report", "/nowhere"]])
def test_verbose_shows_where_an_error_comes_from(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 1
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "manifest_file.py" in shown
    assert shown.splitlines()[-1].startswith("run-bench: /nowhere does not exist: no run is there")


def test_verbose_shows_the_lines_of_the_runs_log_and_leaves_logging_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = logging.root.level, list(logging.root.handlers)
    words = ["demo", "--limit", "2", "--corruptions", "", "--methods", "zeroshot", "--teacher", "embedded", "--quiet"]
    assert main([*words, "--out", str(tmp_path / "run"), "--verbose"]) == 0
    shown = capsys.readouterr().err
    logged = [line.partition(" ")[2] for line in (tmp_path / "run" / "run.log").read_text().splitlines()]
    assert logged
    assert all(line in shown for line in logged)
    assert (logging.root.level, list(logging.root.handlers)) == before


SECTIONS = ["versions", "devices", "free disk", "caches", "data sets", "missing, and what for"]


def test_the_doctor_shows_what_is_here_and_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("APM_TTA_DATA_ROOT", raising=False)
    assert main(["doctor", "--data-root", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert re.findall(r"^(\w.*)$", shown, flags=re.MULTILINE) == SECTIONS
    assert re.search(r"torch \d.*torchvision \d", shown)
    assert re.search(r"cpu: \d+ of \d+ cores? usable", shown)
    assert "carried: fashion-mnist, sklearn-digits" in shown
    assert re.search(r"not found: .*imagenet-c", shown)
    assert re.search(r"data sets: \d+ suites of \d+", shown)


def test_the_doctor_ends_with_3_where_what_was_asked_for_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "demo"]) == 0
    assert capsys.readouterr().out.endswith("asked for\n  demo: everything is here\n")
    assert main(["doctor", "demo", "imagenet-c", "--data-root", str(tmp_path)]) == 3
    captured = capsys.readouterr()
    assert "imagenet-c: data set imagenet-c (not found); to get it: " in captured.out
    assert captured.err.startswith("run-bench: 2 things missing of what was asked for")


def test_a_data_root_that_does_not_exist_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("APM_TTA_DATA_ROOT", "/nowhere")
    assert main(["doctor"]) == 3
    assert "/nowhere is not a folder" in capsys.readouterr().err


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    version = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: "missing" if name == "ray" else version(name))
    assert "ray: --ray" in doctor.examine().sections["missing, and what for"]
