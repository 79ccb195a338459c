"""The outermost frame of ``run-bench``: whatever happens in it ends in one line and an exit code.

Hardly anything is imported before ``main`` is called: an import can fail, and be interrupted.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from apm_tta.errors import UNEXPECTED, UserError
from apm_tta.system.environment import complete_environment, instruct_libraries
from apm_tta.system.standard_streams import own_streams, say, whole_output
from apm_tta.system.stop_signals import OutputLost, let_end, stop_code, stop_word, stoppable
from apm_tta.system.tracebacks import keep_tracebacks_in_files, unexpected


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``run-bench`` and return its exit code.

    0: done. 1: understood, but it cannot be carried out here. 2: not understood. 3: done, except for images that could
    not be read, or times that something else on the machine disturbed; or a published number is not met. 70: an error
    that nobody expected; a file has the details. 128 and a signal's number: that signal stopped it, such as 130 after
    Ctrl-C, 143 when it was terminated, 141 when nobody reads its output any more.
    """
    with stoppable():
        try:
            complete_environment()
            with whole_output():
                return _carry_out(list(sys.argv[1:] if arguments is None else arguments))
        except BaseException as error:
            return _say_end(error)


def _carry_out(words: list[str]) -> int:
    import click

    from apm_tta.command_line import Interrupted, main_group

    try:
        main_group.main(words, "run-bench", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
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
