"""Processes for tests, forked from a server in which the slow imports have been done once.

They are for tests of what separate processes do: being killed, memory of their own, classes loaded anew. What a fresh
interpreter does, tests find out with ``subprocess``.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import TemporaryDirectory
from types import ModuleType

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(
    [
        *("apm_tta.cli", "apm_tta.command_line", "apm_tta.api.run", "apm_tta.harness.estimate", "apm_tta.field"),
        *("apm_tta.teachers.open_clip_teacher", "apm_tta.teachers.timm_teacher"),
    ]
)


def start_bench(words: Sequence[str], errors: Path | None = None) -> BaseProcess:
    """Start a process that runs ``run-bench`` and ends with its exit code; its errors go into that file."""
    process = _SERVER.Process(target=_bench, args=(list(words), errors))
    process.start()
    return process


def start_program(
    program: str, arguments: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> BaseProcess:
    """Start a process that runs the text of a program, as ``python -c`` does; see ``run_program``."""
    words = ["-c", *arguments]
    process = _SERVER.Process(target=_program, args=(program, words, dict(environment or {}), None, None, None))
    process.start()
    return process


def run_program(
    program: str,
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    script: Path | None = None,
) -> CompletedProcess[str]:
    """Run the text of a program to its end, as ``python -c`` does, or ``python script``.

    Args:
        program: its text.
        arguments: ``sys.argv`` after the name.
        environment: variables that differ from this process's.
        script: the file that holds the text; its folder is the program's current one.
    """
    with TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in ("out", "err")]
        words = [str(script or "-c"), *arguments]
        process = _SERVER.Process(target=_program, args=(program, words, dict(environment or {}), script, *files))
        process.start()
        process.join()
        return CompletedProcess(program, process.exitcode or 0, *(file.read_text(encoding="utf-8") for file in files))


def _bench(words: list[str], errors: Path | None) -> None:
    # A shell that started the tests in the background has them ignore Ctrl-C, and their processes inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _as_if_started_by_hand()
    if errors is not None:
        _redirect(2, errors)
    from apm_tta.cli import main

    sys.exit(main(words))


def _program(
    program: str,
    arguments: list[str],
    environment: dict[str, str],
    script: Path | None,
    out: Path | None,
    err: Path | None,
) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # see ``_bench``
    _as_if_started_by_hand()
    for descriptor, file in ((1, out), (2, err)):
        if file is not None:
            _redirect(descriptor, file)
    sys.argv = arguments
    os.environ.update(environment)
    main = sys.modules["__main__"] = ModuleType("__main__")
    if script is not None:
        os.chdir(script.parent)
        main.__file__ = str(script)
    exec(compile(program, arguments[0], "exec"), vars(main))


def _as_if_started_by_hand() -> None:
    """Forget how this process was started: it starts its own processes as the system does."""
    multiprocessing.set_start_method(None, force=True)  # type: ignore[arg-type]


def _redirect(descriptor: int, file: Path) -> None:
    """Write into ``file`` what this process writes to the descriptor."""
    opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(opened, descriptor)
    os.close(opened)
