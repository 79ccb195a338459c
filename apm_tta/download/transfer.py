"""What every way to fetch a file has in common: how long to try, what to tell, and how it fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

MAKE_SPACE = "make room, and run the same command again: it goes on from there"

Told = Callable[[int, int | None], None]
"""Is told how many bytes there are by now, and of how many; None where nobody knows."""


class Refused(Exception):
    """This address does not give the file, in a few words why; another one may."""


class NeedsPerson(Refused):
    """This address gives the file only to somebody who has accepted terms or logged in; the steps are the message."""


@dataclass(frozen=True)
class Persistence:
    """How long a transfer that fails is tried again.

    Attributes:
        timeout_s: seconds without a byte after which it has failed.
        retries: times in a row that it may fail without another byte having come.
        pause_s: seconds before the second try; doubled before each further one, up to a minute.
        sleep: waits.
    """

    timeout_s: float = 60.0
    retries: int = 5
    pause_s: float = 1.0
    sleep: Callable[[float], None] = field(default=time.sleep)

    def pause(self, failures: int, at_least_s: float = 0.0) -> None:
        """Wait after that many failures in a row, and as long as a server asks for; never more than a minute."""
        self.sleep(min(max(self.pause_s * 2 ** (failures - 1), at_least_s), 60.0))


@dataclass(frozen=True)
class Wanted:
    """What is known of a file before it is there.

    Attributes:
        name: of the file.
        bytes: its size; None where nobody states it.
        digest_known: whether somebody states a digest, which tells later whether it is right and whole.
    """

    name: str
    bytes: int | None
    digest_known: bool
