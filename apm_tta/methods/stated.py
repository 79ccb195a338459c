"""What a method states of itself for the manifest, whatever its own code does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import astuple
from typing import Any, TypeVar

from apm_tta.errors import UserError
from apm_tta.methods.answering import failures_named, watched
from apm_tta.methods.base import Cost, Method
from apm_tta.randomness import seed_for

T = TypeVar("T")


def stated_cost(method: Method[Any]) -> Cost:
    """Return the teacher's passes per image, as the method counts them.

    Raises:
        UserError: when that fails, or is no ``Cost`` of whole numbers from 0, in one line with the method's name.
    """
    cost = _asked(method, "cost()", method.cost)
    passes = astuple(cost)[:-1] if isinstance(cost, Cost) else (None,)
    if not all(type(each) is int and each >= 0 for each in passes):
        raise UserError(
            f"method {method.given.row} returns {cost!r} from cost(); return a Cost of whole numbers from 0"
        )
    return cost


def stated_prompts(method: Method[Any]) -> tuple[str, ...]:
    """Return the sentences of the class weights that the method begins with; see ``Method.initial_prompts``.

    Raises:
        UserError: when that fails, or is not a tuple of texts, in one line with the method's name.
    """
    prompts = _asked(method, "initial_prompts()", method.initial_prompts)
    if not (isinstance(prompts, tuple) and all(isinstance(each, str) for each in prompts)):
        raise UserError(
            f"method {method.given.row} returns {prompts!r} from initial_prompts(); return a tuple of sentences"
        )
    return prompts


def stated_parameters(method: Method[Any]) -> dict[str, Any]:
    """Return what the manifest states beyond the method's parameters; see ``Method.resolved_parameters``.

    Raises:
        UserError: when that fails, or is not plain data by name, in one line with the method's name.
    """
    resolved = _asked(method, "resolved_parameters()", method.resolved_parameters)
    try:
        if not isinstance(resolved, dict) or not all(isinstance(name, str) for name in resolved):
            raise TypeError
        json.dumps(resolved, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise UserError(
            f"method {method.given.row} returns from resolved_parameters() what run.yaml cannot hold; return a "
            "dictionary from names to texts, finite numbers, True, False, None, and lists and dictionaries of those"
        ) from None
    return resolved


def _asked(method: Method[Any], where: str, function: Callable[[], T]) -> T:
    seed = seed_for(method.given.seed, method.name, where)
    with failures_named(method.given.row, where), watched(method.given.row, method.given.teacher, seed, contents=False):
        return function()
