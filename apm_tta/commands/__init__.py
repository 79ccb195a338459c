"""The commands of ``run-bench``, one file a topic: each parses, calls, and prints.

A module here that has a list ``COMMANDS`` is found by itself. It imports nothing heavy before a command is called, so
that ``run-bench --help`` answers at once.
"""

from __future__ import annotations

import importlib
import pkgutil

import click


def all_commands() -> list[click.Command]:
    """Every command but those of the suites."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    return [command for module in modules for command in getattr(module, "COMMANDS", [])]
