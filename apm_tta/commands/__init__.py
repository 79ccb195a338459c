"""The commands of ``run-bench``, one file per topic: each parses, calls, and prints.

A module here with a list ``COMMANDS`` is discovered automatically. It imports nothing heavy before a command is called,
so that ``run-bench --help`` responds at once.
"""

from __future__ import annotations

import importlib
import pkgutil

import click


def all_commands() -> list[click.Command]:
    """Return every command except those of the suites."""
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    return [command for module in modules for command in getattr(module, "COMMANDS", [])]
