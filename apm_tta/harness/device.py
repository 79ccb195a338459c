"""Where a run computes."""

from __future__ import annotations

import torch

from apm_tta.errors import UserError


def resolve_device(name: str) -> torch.device:
    """The device of that name, checked to exist; ``auto`` is a GPU where there is one.

    Raises:
        UserError: for a name that means nothing, or a device that is not there. Exit code 2.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
        if device.type == "meta":
            raise RuntimeError("a meta tensor holds no numbers")
    except (RuntimeError, AssertionError, NotImplementedError):
        available = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        raise UserError(f"device {name!r} is not available; there are: {', '.join(available)}", exit_code=2) from None
    return device
