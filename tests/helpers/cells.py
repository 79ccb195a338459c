"""Cells of a notebook: texts that are run one after another in one namespace, as IPython does it in ``__main__``."""

from __future__ import annotations

from textwrap import dedent, indent
from typing import Any

PREAMBLE = """
import functools
import math
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, NamedTuple, NewType

import numpy as np
import torch
from pydantic import Field

from apm_tta.methods import METHODS, Method, Predictions
from apm_tta.methods.parameters import Templates
"""


class Notebook:
    """One kernel: what a cell defines is there in the next."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.run(PREAMBLE)

    def run(self, text: str, file: str = "<cell>") -> None:
        """Run one cell."""
        exec(compile(dedent(text), file, "exec", dont_inherit=True), self.names)


def mine(
    body: str = "return Predictions(self.logits(self.features(batch)))", attributes: str = "", brackets: str = ""
) -> str:
    """Return the text of a cell with one method."""
    stated = indent(dedent(attributes).strip(), "    ")
    return (
        f'class Mine(Method{brackets}):\n    name, protocol = "mine", "episodic"\n{stated}\n\n'
        f"    def predict(self, batch):\n{indent(dedent(body).strip(), ' ' * 8)}\n"
    )


def defined(*cells: str) -> type:
    """Run cells in a new notebook, and return the class ``Mine`` that one of them defines."""
    notebook = Notebook()
    for cell in cells:
        notebook.run(cell)
    found: type = notebook.names["Mine"]
    return found
