"""Every signal that stops a job ends a command in one line, with the exit code that shells use for it."""

from __future__ import annotations

import os
import shlex
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from apm_tta.cli import main
from apm_tta.errors import UserError
from apm_tta.system.stop_signals import (
    STOP_SIGNALS,
    Stopped,
    handlers_kept,
    signals_held,
    stop_code,
    stop_says,
    stop_word,
    stoppable,
)


def send(number: int) -> None:
    """Send this process a signal, as another one would."""
    os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def as_a_shell_starts_it() -> object:
    """Handle Ctrl-C as Python does: a shell that started the tests in the background has them ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_is_an_exception_with_its_code_and_word(number: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as stopped, stoppable():
        send(number)
    assert stop_code(stopped.value) == 128 + number
    words = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
    assert str(stopped.value) == words.get(number, f"stopped by {signal.Signals(number).name}")
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGUSR1])
def test_what_is_ignored_or_handled_by_others_stays_so(number: int) -> None:
    """As SIGHUP is under ``nohup``, and Ctrl-C in what a shell runs in the background."""
    heard: list[int] = []
    for handler in (signal.SIG_IGN, lambda got, _frame: heard.append(got)):
        before = signal.signal(number, handler)
        try:
            with stoppable():
                send(number)
        finally:
            signal.signal(number, before)
    assert heard == [number]


def test_a_second_signal_while_the_first_is_followed_changes_nothing() -> None:
    cleaned = []
    with pytest.raises(UserError) as ended, stoppable(), stop_says("rerun it"):  # noqa: PT012
        try:
            send(signal.SIGTERM)
        finally:
            for number in STOP_SIGNALS:
                send(number)
            cleaned.append("all")
    assert cleaned == ["all"]
    assert (str(ended.value), ended.value.exit_code) == ("terminated; rerun it", 143)


def test_a_signal_that_a_library_swallowed_is_followed_when_it_comes_again() -> None:
    with pytest.raises(Stopped), stoppable():  # noqa: PT012
        with suppress(KeyboardInterrupt):
            send(signal.SIGUSR2)
        send(signal.SIGUSR2)


def test_a_library_that_makes_it_another_interrupt_keeps_the_code() -> None:
    """Ray raises a plain ``KeyboardInterrupt`` for whatever was raised while it waited."""
    with pytest.raises(KeyboardInterrupt) as stopped, stoppable():  # noqa: PT012
        try:
            send(signal.SIGHUP)
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None
    assert (stop_word(stopped.value), stop_code(stopped.value)) == ("stopped by SIGHUP", 129)


def test_signals_that_are_held_come_at_the_end_of_the_block() -> None:
    reached = []
    with pytest.raises(Stopped) as stopped, stoppable(), signals_held():  # noqa: PT012
        send(signal.SIGXCPU)
        reached.append("the end")
    assert reached
    assert stopped.value.number == signal.SIGXCPU


def test_handlers_that_a_library_sets_are_put_back() -> None:
    with pytest.raises(Stopped), stoppable():  # noqa: PT012
        with handlers_kept():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        send(signal.SIGTERM)


@pytest.fixture
def signalled() -> Callable[[list[str], Path, int], int]:
    """Return what runs a command in this process and sends the signal once there is a file of records."""

    def run(words: list[str], out: Path, number: int) -> int:
        ended = threading.Event()

        def wait_and_send() -> None:
            while not list(out.rglob("*.parquet")) and not ended.is_set():
                time.sleep(0.002)
            send(number)

        sender = threading.Thread(target=wait_and_send)
        with stoppable():  # a signal that comes too late must not end the tests
            try:
                sender.start()
                code = main(words)
            finally:
                ended.set()
                sender.join()
        return code

    return run


# A signal may come between two instructions of a library that would close something.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("number", "workers"), [(signal.SIGHUP, "0"), (signal.SIGXCPU, "2")])
def test_a_run_says_where_it_is_and_how_to_go_on_in_words_that_a_shell_takes(
    number: int,
    workers: str,
    tmp_path: Path,
    signalled: Callable[[list[str], Path, int], int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "my runs' $HOME"
    words = ["demo", "--limit", "400", "--shard-size", "5", "--corruptions", "", "--methods", "zeroshot", "--quiet"]
    words += ["--batch-size", "5", "--workers", workers, "--out", str(out)]
    assert signalled(words, out, number) == 128 + number
    said = capsys.readouterr().err
    name = signal.Signals(number).name
    assert said == (
        f"run-bench: stopped by {name}; finished shards and checkpoints are kept; "
        f"rerun the same command with --out {shlex.quote(str(out))} to resume\n"
    )
    assert shlex.split(said)[said.split().index("--out") :]
    assert not {"run.lock", "run.owner"} & {path.name for path in out.iterdir()}
    assert list(out.rglob("*.parquet"))


def test_a_command_without_a_run_ends_in_one_line_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("apm_tta.commands.list._lines", lambda *_: send(signal.SIGUSR1))
    assert main(["list", "suites"]) == 128 + signal.SIGUSR1
    said = capsys.readouterr().err
    assert said.startswith("run-bench: stopped by SIGUSR1; ")
    assert said.count("\n") == 1
