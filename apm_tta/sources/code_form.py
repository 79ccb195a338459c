"""Byte code without the places that it was written at: what a function computes, and which globals it reads."""

from __future__ import annotations

import dis
from collections.abc import Iterator, Sequence
from inspect import CO_NESTED
from itertools import islice
from types import CodeType
from typing import Any, NamedTuple

_HAS_DOCSTRING = 0x4000000  # from Python 3.13 on
_PLACES = ("__firstlineno__", "__static_attributes__")
"""What a class's body notes of its text, from Python 3.13 on."""

_GLOBAL_READS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_ATTRIBUTE_READS = frozenset({"LOAD_ATTR", "LOAD_METHOD"})
_CONSTANT = frozenset(dis.hasconst)


class Read(NamedTuple):
    """One global that code reads, or one module that it imports.

    Attributes:
        name: of the global; empty for an import.
        module: that is imported; empty for a global.
        level: dots in front of an imported module.
        attributes: that are read of it at once, one of the other: ``module.function`` reads no more of a module.
    """

    name: str
    module: str = ""
    level: int = 0
    attributes: tuple[str, ...] = ()


class CodeForm(NamedTuple):
    """What there is in a code object beside its places.

    Attributes:
        label: instructions, names and flags. File names, line numbers and texts that no instruction loads, such as
            docstrings, are left out.
        constants: as they are loaded, nested code among them.
    """

    label: tuple[Any, ...]
    constants: tuple[Any, ...]


def code_form(code: CodeType) -> CodeForm:
    """Return the form of one code object; nested ones are among its constants."""
    instructions: list[tuple[str, int | None]] = []
    constants = []
    for instruction in _instructions(code):
        loads = instruction.opcode in _CONSTANT
        if loads:
            constants.append(instruction.argval)
        instructions.append((instruction.opname, None if loads else instruction.arg))
    label = (
        code.co_name,
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        code.co_flags & ~CO_NESTED & ~_HAS_DOCSTRING,
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_cellvars,
        getattr(code, "co_exceptiontable", b""),
        tuple(instructions),
    )
    return CodeForm(label, tuple(constants))


def global_reads(code: CodeType) -> set[Read]:
    """Return every global and import of ``code`` and of the functions and classes that are written inside it."""
    found: set[Read] = set()
    waiting = [code]
    while waiting:
        one = waiting.pop()
        instructions = _instructions(one)
        found.update(_reads(instructions))
        waiting += [constant for constant in one.co_consts if isinstance(constant, CodeType)]
    return found


def _instructions(code: CodeType) -> list[dis.Instruction]:
    """Return the instructions, but for prefixes of arguments and for what notes where a class was written."""
    kept: list[dis.Instruction] = []
    for instruction in dis.get_instructions(code):
        if instruction.opname == "STORE_NAME" and instruction.argval in _PLACES:
            kept.pop()
        elif instruction.opname != "EXTENDED_ARG":
            kept.append(instruction)
    return kept


def _reads(instructions: Sequence[dis.Instruction]) -> Iterator[Read]:
    for index, instruction in enumerate(instructions):
        if instruction.opname in _GLOBAL_READS:
            yield Read(instruction.argval, attributes=_attributes(instructions, index + 1))
        elif instruction.opname == "IMPORT_NAME":
            level, names = (each.argval for each in instructions[index - 2 : index])
            plain = tuple(names) if isinstance(names, tuple) and "*" not in names else ()
            for name in plain or (None,):
                yield Read("", instruction.argval, level, () if name is None else (name,))


def _attributes(instructions: Sequence[dis.Instruction], start: int) -> tuple[str, ...]:
    """Return the attributes that are read one of the other, from ``start`` on."""
    chain = []
    for instruction in islice(instructions, start, None):
        if instruction.opname not in _ATTRIBUTE_READS:
            break
        chain.append(instruction.argval)
    return tuple(chain)
