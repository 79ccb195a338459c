"""What is quoted in a message stays one line, and what is to be pasted arrives at a program as it was."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apm_tta.wording import first_few, for_shell, pluralise, visible


@given(st.text())
def test_visible_text_is_one_line_and_words_of_any_script_stay_as_they_are(text: str) -> None:
    shown = visible(text)
    assert len(shown.splitlines()) <= 1
    assert visible(shown) == shown
    if text.isalnum():
        assert shown == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\r\x0bc", r"a\nb\r\x0bc"),
        ("\x1b[31mred\x9b0m", r"\x1b[31mred\x9b0m"),
        ("\u202egnp.exe\u2066", r"\u202egnp.exe\u2066"),
        ("a\u2028b\udcff", r"a\u2028b\udcff"),
        ("日本 über \N{ZERO WIDTH JOINER} Ω", "日本 über \N{ZERO WIDTH JOINER} Ω"),
    ],
)
def test_what_breaks_a_line_or_directs_a_terminal_is_escaped(text: str, shown: str) -> None:
    assert visible(text) == shown


NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=6)


@settings(max_examples=25)
@given(st.lists(NAMES, min_size=1, max_size=20))
def test_a_shell_reads_the_words_that_were_quoted(words: list[str]) -> None:
    line = for_shell(words)
    assert line == visible(line), "one line, which a terminal only shows"
    said = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True)
    assert said.stdout.decode().split("\0")[:-1] == words


def test_a_name_that_is_no_text_reaches_a_shell_as_its_bytes() -> None:
    assert for_shell(["--out", "my run", "caf\udce9"]) == r"--out 'my run' $'caf\xe9'"


def test_numbers_have_their_nouns() -> None:
    assert [pluralise(number, "image") for number in (0, 1, 2000)] == ["0 images", "1 image", "2,000 images"]
    assert first_few(list("abcde")) == "a, b, c and 2 more"
    assert first_few(list("abcde"), "; ") == "a; b; c; and 2 more"
