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
            return UserError(str(error), error.exit_code)
        return UserError(describe_error(error))
    return error
