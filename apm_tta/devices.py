"""The devices on which a run computes."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import torch

from apm_tta.errors import UserError
from apm_tta.system.cores import usable_threads

AUTO, ALL = "auto", "all"


def resolve_devices(names: Sequence[str]) -> list[torch.device]:
    """Return the devices with these names, each checked to exist.

    Args:
        names: ``cpu``, ``cuda``, ``cuda:N``; ``auto`` is a GPU where there is one, ``all`` is every GPU. A name that
            appears twice stands for two processes on that device.

    Raises:
        UserError: for an unknown name, or a device that does not exist here. Exit code 2.
    """
    if not names:
        raise UserError("no device is named; choose cpu, cuda, cuda:N, auto or all", exit_code=2)
    return [device for name in names for device in (_all() if name == ALL else [resolve_device(name)])]


def resolve_device(name: str) -> torch.device:
    """Return the device with this name, checked to exist; ``auto`` is a GPU where there is one.

    Raises:
        UserError: for an unknown name, or a device that does not exist here. Exit code 2.
    """
    if name == AUTO:
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


def share_cores(processes: int) -> None:
    """Limit this process to its share of the usable cores, where ``processes`` processes compute side by side."""
    use_threads(max(1, usable_threads() // processes))


def use_threads(threads: int) -> None:
    """Let this process compute with so many threads."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


def _all() -> list[torch.device]:
    count = torch.cuda.device_count()
    return [torch.device("cuda", index) for index in range(count)] or [torch.device("cpu")]
