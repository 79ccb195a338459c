"""Whatever is typed: one line and an exit code of the documented table, and never a traceback.

The parser and all that follows are the real ones; only the work itself is stubbed, where it would begin.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import click
import pytest
from fuzz import fuzzed
from hypothesis import given
from hypothesis import strategies as st

from apm_tta.cli import main
from apm_tta.command_line import main_group
from apm_tta.errors import UNEXPECTED, UserError

WORK = {
    "apm_tta.api.run": ["run_request"],
    "apm_tta.harness.estimate": ["estimate"],
    "apm_tta.field.train_field": ["train_field"],
    "apm_tta.field.show_field": ["show_field"],
    "apm_tta.field.show_interpolation": ["show_interpolation"],
    "apm_tta.islands.show_formation": ["show_formation"],
    "apm_tta.islands.show_levels": ["show_growth", "show_levels"],
    "apm_tta.islands.show_video": ["show_video"],
    "apm_tta.teachers.video": ["load_video_teacher"],
    "apm_tta.api.check": ["check_dataset"],
    "apm_tta.api.verify": ["verify"],
}
STUBBED = "the work would begin here"
NAMES = main_group.list_commands(click.Context(main_group))
COMMANDS = {name: main_group.get_command(click.Context(main_group), name) for name in NAMES}
PLACES = ["", " ", ".", "..", "/", "/dev/null", "/nowhere/x", "file.txt", "empty", "images", "link", "a\nb", "\udcff"]
LONG = ["x" * 300, "9" * 400, "x/" * 3000]
NUMBERS = [
    "0",
    "1",
    "-1",
    "4",
    "010",
    "1:30",
    "1e3",
    "nan",
    "inf",
    "-inf",
    "1_0",
    "0x1",
    "true",
    "yes",
    "none",
    "all",
    "auto",
    ",",
    "a,b",
    "1/2",
    "2/1",
]
WORDS = [
    "zeroshot",
    "zeroshot,apm",
    "tent",
    "apm.iterations=4",
    "apm.iterations=010",
    "apm.hidden=[]",
    "apm=1",
    "zeroshot.templates=/",
    "x.y=[",
    "clean",
    "fog",
    "embedded",
    "ViT-B-32:/nowhere",
    "timm:resnet18:file.txt",
    "hf-hub:",
    "fashion-mnist",
    "fashion-mnist:test/00083",
    "fashion-mnist:",
    "imagenet",
    "suites",
    "cpu",
    "cuda:99",
    "--",
    "-",
    "--out",
    "--json",
    "-h",
    "--version",
    "\x00",
    "é",
]
TEXTS = st.one_of(
    st.sampled_from([*PLACES, *LONG, *NUMBERS, *WORDS]),
    st.text(max_size=12),
    st.integers().map(str),
    st.floats().map(repr),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Stub the work, and go to a folder with a few files."""
    folder = tmp_path_factory.mktemp("typed")
    (folder / "file.txt").write_text("a file")
    (folder / "empty").mkdir()
    (folder / "images").mkdir()
    (folder / "images" / "one.png").write_bytes(b"no image")
    (folder / "link").symlink_to("link")
    before = Path.cwd()
    with pytest.MonkeyPatch.context() as patch:
        for module, functions in WORK.items():
            for function in functions:
                patch.setattr(f"{module}.{function}", stub)
        os.chdir(folder)
        try:
            yield folder
        finally:
            os.chdir(before)


def stub(*_: Any, **__: Any) -> Any:
    raise UserError(STUBBED)


@st.composite
def lines(draw: Callable[[Any], Any]) -> list[str]:
    """Draw a command with options and arguments of its own, most of them with a value, in any order."""
    name = draw(st.sampled_from(NAMES))
    command = COMMANDS[name]
    assert command is not None
    words = []
    for parameter in draw(st.lists(st.sampled_from(command.params), max_size=4)):
        value = draw(TEXTS)
        if isinstance(parameter, click.Option):
            flag = draw(st.sampled_from(parameter.opts))
            words.append([flag] if parameter.is_flag else draw(st.sampled_from([[flag, value], [f"{flag}={value}"]])))
        else:
            words.append([value])
    if not draw(st.integers(0, 9)):
        words.append([draw(TEXTS)])
    return [name, *(word for pair in draw(st.permutations(words)) for word in pair)]


@fuzzed(60)
@given(lines())
def test_any_command_line_ends_in_one_line_and_a_code_of_the_table(place: Path, words: list[str]) -> None:
    out, said = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(said):
        code = main(words)
    message = said.getvalue()
    assert "Traceback" not in out.getvalue() + ("" if "--verbose" in words else message)
    assert code in (0, 1, 2, 3), message
    assert code != UNEXPECTED
    if code:
        assert message.startswith("run-bench: ") or "Usage: " in message or "--verbose" in words, message
        last = message.splitlines()[-1]
        assert "Usage: " in message or last.startswith("run-bench: "), message
        typed = sum(len(word) for word in words)
        assert len(last) <= 400 + 2 * typed, last
    assert not list(place.rglob("*.parquet"))
