"""Messages of the command line from their real causes: the last line says what is wrong, where, and what to do.

Every other test holds the messages that it brings about to the same style: see ``message_style``.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from message_style import faults

from apm_tta.cli import main

IMAGE = "fashion-mnist:test/00000"


def last_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = main(words)
    line = capsys.readouterr().err.rstrip("\n").rpartition("\n")[2]
    assert line.startswith("run-bench: ")
    assert not faults(line), f"{line}: {faults(line)}"
    return code, line.removeprefix("run-bench: ")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        *((["demo", option, ""], option) for option in ("--out", "--data-root", "--support")),
        (["check", "cifar10", "--data-root", ""], "--data-root"),
        (["list", "datasets", "--data-root", ""], "--data-root"),
        (["islands", ""], "IMAGE"),
        (["islands", IMAGE, "--out", ""], "--out"),
        (["video", ""], "IMAGE"),
        (["report", ""], "RUNS"),
        (["report", "a", "b", "--out", ""], "--out"),
        (["compare", "a", ""], "RUN_B"),
        (["compare", "a", "b", "--csv", ""], "--csv"),
        (["merge", "", "--out", "x"], "PARTS"),
        (["merge", "a", "--out", ""], "--out"),
        (["train-field", "--data", ""], "--data"),
        (["train-field", "--out", ""], "--out"),
        (["field", IMAGE, "--checkpoint", ""], "--checkpoint"),
        (["interpolate", IMAGE, "", "--checkpoint", "x"], "IMAGE_B"),
    ],
)
def test_an_empty_name_is_not_the_current_folder(
    words: list[str], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, line = last_line(words, capsys)
    assert code == 2
    assert name in line
    assert "empty" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31mred", "a\u202eb"])
@pytest.mark.parametrize("command", [["report"], ["islands"], ["imagenet-a", "--data-root"], ["demo", "--out"]])
def test_a_name_with_control_characters_is_shown_by_escapes(
    command: list[str], name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each ends with a message about that path: it is a file, where a folder or an image is needed."""
    path = tmp_path / name
    path.write_text("no image")
    code, line = last_line([*command, str(path)], capsys)
    assert code in (1, 2)
    assert name.encode("unicode_escape").decode() in line


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["demoo"], 2, "unknown suite or command 'demoo'; there are: demo, "),
        (["demo", "--methods", "zeroshott"], 2, "unknown method 'zeroshott'; there are: "),
        (["demo", "--corruptions", "fogg"], 2, "there are: fog, blue_noise_sample, "),
        (["check", "imagnet"], 2, "there are: imagenet, "),
        (["demo", "--teacher", "embeded"], 2, "unknown teacher 'embeded'; there are: embedded, "),
        (["demo", "--methods", ""], 2, "methods"),
        (["demo", "--severities", "9"], 2, "severities are 1 to 5"),
        (["demo", "--device", "tpu"], 2, "device 'tpu' is not available; there are: cpu"),
        (["islands", "nothing.png"], 1, "there is no image file nothing.png; an image of the package is named fashion"),
        (["islands", "fashion-mnist"], 2, "name one image, or test its images with --levels all"),
        (["train-field", "--data", "nowhere"], 1, "there is no folder nowhere; the package carries: fashion-mnist"),
        (["report", "nowhere"], 1, "nowhere does not exist: no run is there"),
        (["compare", "nowhere", "nowhere"], 1, "nowhere does not exist: no run is there"),
        (["report", "a", "b"], 2, "several runs need --out FOLDER"),
        (["imagenet-a", "--data-root", "nowhere"], 1, "expected tree: DATA_ROOT/"),
    ],
)
def test_a_request_that_cannot_be_carried_out_ends_in_one_line_that_says_what_would_be_right(
    words: list[str],
    code: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    found, line = last_line(words, capsys)
    assert said in line
    assert found == code
