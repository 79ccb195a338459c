"""Reading again what could not be read: a mount that fails now and then comes back after seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from apm_tta.data.image_files.errors import UnreachableImage, UnreadImage
from apm_tta.errors import UserError

T = TypeVar("T")

LONGEST_S = 10.0
"""How long an image is waited for, in all."""

MOST_IN_A_ROW = 20
"""Images in a row that cannot be reached: then it is not the images."""

_FIRST_WAIT_S = 0.1


class OutOfReach(UserError):
    """So many images in a row could not be reached that a run ends with it."""


class Patience:
    """Reads again, at growing intervals, and gives up on an image after ``LONGEST_S``; on a run, after 20 images.

    The time is kept by image: one that was waited for once is read without waiting from then on.
    """

    def __init__(self) -> None:
        self._waited_s: dict[str, float] = {}
        self._in_a_row = 0
        self._gave_up = False

    def exhaust(self, names: Iterable[str]) -> None:
        """Take it that these images were waited for already."""
        self._waited_s.update(dict.fromkeys(names, LONGEST_S))

    def read(self, name: str, read: Callable[[], T]) -> T:
        """Return what ``read`` returns, at the latest when the image was waited for long enough.

        Args:
            name: of the image.
            read: reads it.

        Raises:
            UnreachableImage: of ``read``, where it does not get better.
            OutOfReach: where it is the last of too many.
            UnreadImage: any other of ``read``, at once.
        """
        wait = _FIRST_WAIT_S
        while True:
            started = time.monotonic()
            try:
                found = read()
            except UnreachableImage as error:
                spent = self._waited_s.get(name, 0.0) + time.monotonic() - started
                wait = min(wait, LONGEST_S - spent)
                if not error.passing or wait <= 0 or self._gave_up:
                    self._waited_s[name] = spent
                    self.count(error)
                    raise
                time.sleep(wait)
                self._waited_s[name] = spent + wait
                wait *= 2
            except UnreadImage:
                self.count()
                raise
            else:
                self.count()
                return found

    def count(self, *unreached: UnreachableImage) -> None:
        """Count images that could not be reached one after another; none: one was reached.

        Raises:
            OutOfReach: where these are too many.
        """
        if not unreached:
            self._in_a_row, self._gave_up = 0, False
            return
        self._in_a_row += len(unreached)
        if self._in_a_row >= MOST_IN_A_ROW:
            self._in_a_row, self._gave_up = 0, True
            problem = f"{MOST_IN_A_ROW} images in a row could not be read, the last of them: {unreached[-1]}"
            raise OutOfReach(problem, passing=True)
