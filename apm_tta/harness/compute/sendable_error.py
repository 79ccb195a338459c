"""Exceptions on their way from a worker process."""

from __future__ import annotations

import pickle

from apm_tta.errors import UserError, describe_error


def sendable(error: Exception) -> Exception:
    """Return ``error``, or what it says where only this process knows its class, such as one of a notebook cell."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        if isinstance(error, UserError):
            found = UserError("")
            found.args, found.__dict__ = error.args, {name: vars(error)[name] for name in vars(found)}
            return found
        return UserError(describe_error(error))
    return error
