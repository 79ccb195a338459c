"""The outermost frame of ``run-bench``: whatever happens in it ends in one line and an exit code.

Hardly anything is imported before ``main`` is called: an import can fail, and be interrupted.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence

from apm_tta.errors import UNEXPECTED, UserError
from apm_tta.system import started  # noqa: F401  (it notes the time)
from apm_tta.system.environment import complete_environment, instruct_libraries
from apm_tta.system.standard_streams import own_streams, say, whole_output
from apm_tta.system.stop_signals import OutputLost, let_end, stop_code, stop_word, stoppable
from apm_tta.system.tracebacks import keep_tracebacks_in_files, unexpected
from apm_tta.system.verbosity import logs_shown, show_traceback


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``run-bench`` and return its exit code.

    0: done. 1: understood, but it cannot be carried out here. 2: not understood. 3: done, except for images that could
    not be read, times that something else on the machine disturbed, a published number that is not met, or what
    ``doctor`` misses. 70: an error that nobody expected; a file has the details. 128 and a signal's number: that signal
    stopped it, such as 130 after Ctrl-C, 143 when it was terminated, 141 when nobody reads its output any more.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    with stoppable():
        try:
            complete_environment()
            with whole_output(), logs_shown(words):
                return _carry_out(words)
        except BaseException as error:
            show_traceback(words, error)
            return _say_end(error)


def _carry_out(words: list[str]) -> int:
    import click

    from apm_tta.command_line import FIRST_STEPS, Interrupted, main_group
    from apm_tta.commands import completion

    if instruction := os.environ.get(completion.VARIABLE):
        return completion.answer_shell(main_group, instruction)
    if not words:
        click.echo(FIRST_STEPS, err=True)
        return 2
    try:
        main_group.main(words, "run-bench", standalone_mode=False)
    except click.ClickException as error:
        raise UserError(re.sub(r"\s*\n\s*", " ", error.format_message()), 2) from None
    except Interrupted as interrupted:
        raise interrupted.__cause__ or interrupted from None
    return 0


def _say_end(error: BaseException) -> int:
    """Say in one line what ended the command, and return its exit code."""
    if isinstance(error, UserError):
        say(str(error))
        return error.exit_code
    if isinstance(error, OutputLost):  # without a word, as every tool of a shell whose reader has gone
        return stop_code(error)
    if isinstance(error, KeyboardInterrupt):
        say(f"{stop_word(error)}; the same command goes on with what it has kept, or begins again")
        return stop_code(error)
    say(unexpected(error))
    return UNEXPECTED


def console() -> None:
    """Run ``run-bench`` as the console script, and exit with its code."""
    own_streams()
    keep_tracebacks_in_files()
    instruct_libraries()
    with stoppable():
        try:
            code = main()
        except KeyboardInterrupt as stop:  # while the end was said
            code = stop_code(stop)
        let_end(code)
    sys.exit(code)
