"""Completion by the shell: click's own, with what bash does to a word with a colon, and zsh to one with ``=``."""

from __future__ import annotations

import os
import re
from typing import Any

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    ZshComplete,
    add_completion_class,
    shell_complete,
    split_arg_string,
)

from apm_tta.system.standard_streams import errors_dropped

VARIABLE = "_RUN_BENCH_COMPLETE"
"""Set by the shell's script: ``bash_source`` asks for that script, ``bash_complete`` for the answers to one Tab."""


@add_completion_class
class BashWithColons(BashComplete):
    """Completion in bash, which counts every colon and equals sign as a word, ``ViT-B-16 : openai``."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Join such words again; return those before the cursor's, and the part of that one before the cursor."""
        count = int(os.environ["COMP_CWORD"]) + 1
        words = os.environ["COMP_WORDS"].split("\n")[:count]  # each on a line of its own, as click's script writes them
        joined = re.sub(r"\n?([:=])\n?", r"\1", "\n".join([*words, *[""] * (count - len(words))]))
        before, _, begun = joined.rpartition("\n")
        return split_arg_string(before)[1:], "".join(split_arg_string(begun))

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """Return what replaces the part behind the last colon or equals sign."""
        _, begun = self.get_completion_args()
        value = begun.partition("=")[2] if begun.startswith("-") else begun
        kept = value[: max(value.rfind(":"), value.rfind("=")) + 1]
        return f"{item.type},{str(item.value).removeprefix(kept)}"


@add_completion_class
class ZshWithEquals(ZshComplete):
    """Completion in zsh, which replaces the whole word, ``--teacher=emb``, by what is written behind the sign."""

    def format_completion(self, item: CompletionItem[str]) -> str:
        """Return what replaces the word."""
        _, begun = self.get_completion_args()
        option, equals, _ = begun.partition("=")
        if equals and option.startswith("-"):
            item = CompletionItem(f"{option}={item.value}", item.type, item.help)
        return super().format_completion(item)


def answer_shell(group: click.Group, instruction: str) -> int:
    """Print what the shell asks for, and return the exit code; an error would end up in the user's command line."""
    with errors_dropped():
        try:
            return shell_complete(group, {}, "run-bench", VARIABLE, instruction)
        except Exception:
            return 1
