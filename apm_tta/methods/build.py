"""Build a method over a teacher and a task, whatever its own code does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from apm_tta.data.task import Task
from apm_tta.errors import UserError, describe_error
from apm_tta.methods.answering import refuse_changed_teacher, watched
from apm_tta.methods.base import Method, find_method
from apm_tta.methods.method_check import check_built
from apm_tta.randomness import seed_for
from apm_tta.teachers import Teacher


def build_method(
    name: str, teacher: Teacher, task: Task, parameters: Any, seed: int, memory: int | None = None
) -> Method[Any]:
    """Build the method that answers the row ``name``; other arguments as of ``Method``.

    A variant draws the random numbers of its method, so that only its settings set it apart.

    Raises:
        UserError: when the method cannot work with the teacher, or its own ``setup`` fails or changes what it shares,
            in one line that names it.
    """
    kind = find_method(name)
    refuse_changed_teacher(teacher)
    try:
        with watched(name, teacher, seed_for(seed, kind.name, "setup"), contents=True):
            method = kind(teacher, task, parameters, seed, memory)
        check_built(method)
        method.given = replace(method.given, row=name)
        return method
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"method {name} cannot be set up: {describe_error(error)}") from error
