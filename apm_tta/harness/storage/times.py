"""``times.json``: the times of a finished run, measured again on a machine that did nothing else."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from apm_tta.configuration import Configuration, one_line
from apm_tta.errors import UserError
from apm_tta.harness.quietness import Clocks
from apm_tta.harness.storage.manifest import Numbers
from apm_tta.harness.storage.site import Site
from apm_tta.system.files import MAKE_ROOM, read_regular, write_file

TIMES_FILE = "times.json"


class MethodTimes(Configuration):
    """What was measured of one method.

    Attributes:
        latencies_ms: of one image alone, image by image; empty for a method that takes no single images.
        batch_ms: of one batch, batch by batch.
        batch_size: images in a batch.
        peak_memory_mb: the largest of a batch; None where the system does not report it.
        gflop: per image; None for a transductive method.
        clocks: what they said meanwhile.
    """

    latencies_ms: tuple[float, ...]
    batch_ms: tuple[float, ...]
    batch_size: int
    peak_memory_mb: float | None
    gflop: float | None
    clocks: Clocks


class Times(Configuration):
    """The content of ``times.json``.

    Attributes:
        fingerprint: of the run; see ``Numbers.fingerprint``.
        site: where and when it was measured.
        methods: by name.
    """

    fingerprint: str
    site: Site
    methods: dict[str, MethodTimes]

    @property
    def fastest_ms(self) -> float:
        """The shortest time of the reference meanwhile."""
        return min(each.clocks.fastest_ms for each in self.methods.values())


def write_times(folder: Path, times: Times) -> None:
    """Write the times of the run in ``folder`` in place of earlier ones, atomically.

    Raises:
        UserError: when it cannot be written.
    """
    write_file(folder / TIMES_FILE, f"{times.model_dump_json(indent=1)}\n".encode(), MAKE_ROOM)


def read_times(folder: Path, numbers: Numbers) -> Times | None:
    """Read the times of the run in ``folder``; None where they were not measured again.

    Raises:
        UserError: when the file is damaged, or of another run.
    """
    path = folder / TIMES_FILE
    try:
        content = read_regular(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror})", advice=_MEASURE_AGAIN) from None
    try:
        times = Times.model_validate_json(content)
    except ValidationError as error:
        raise UserError(f"{path} is damaged ({one_line(error)})", advice=_MEASURE_AGAIN) from None
    if times.fingerprint != numbers.fingerprint:
        raise UserError(f"{path} is of another run", advice=_MEASURE_AGAIN)
    return times


_MEASURE_AGAIN = "remove it; run-bench time measures again"
