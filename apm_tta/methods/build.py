"""Build a method over a teacher and a task, whatever its own code does."""

from __future__ import annotations

from typing import Any

from apm_tta.data.task import Task
from apm_tta.errors import UserError, describe_error
from apm_tta.methods.base import METHODS, Method
from apm_tta.teachers import Teacher


def build_method(
    name: str, teacher: Teacher, task: Task, parameters: Any, seed: int, memory: int | None = None
) -> Method[Any]:
    """Build the method of that name; arguments as of ``Method``.

    Raises:
        UserError: when the method cannot work with the teacher, or its own ``setup`` fails, in one line that names it.
    """
    try:
        return METHODS.get(name)(teacher, task, parameters, seed, memory)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"method {name} cannot be set up: {describe_error(error)}") from error
