"""What a run waits for: the cores that load images, or the device that answers them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from apm_tta.data.sample import Condition
from apm_tta.harness.compute.loading import Loader
from apm_tta.harness.compute.prepare import Prepared
from apm_tta.methods import Method
from apm_tta.wording import pluralise


@dataclass(frozen=True)
class Bottleneck:
    """The two times that a run has to spend on an image under a condition.

    Attributes:
        loading_seconds: of one core, to read, decode, corrupt and prepare it.
        answering_seconds: of the device and the process that feeds it, for all methods and seeds together.
        workers: loading processes beside the one that answers; 0 where that loads too.
        shared_cores: whether both are done by the same cores: the device is the CPU.
    """

    loading_seconds: float
    answering_seconds: float
    workers: int
    shared_cores: bool

    @property
    def loading_holds_it_up(self) -> bool:
        """Whether the run is slower for its loading."""
        if self.shared_cores or not self.workers:
            return self.loading_seconds > self.answering_seconds
        return self.loading_seconds / self.workers > self.answering_seconds

    @property
    def enough_workers(self) -> int:
        """The least number of loading processes for which the device does not wait."""
        return max(1, math.ceil(self.loading_seconds / max(self.answering_seconds, 1e-9)))

    def text(self) -> str:
        """Say in two sentences what the run waits for, and what would mend that."""
        loading, answering = (f"{1000 * each:.1f} ms" for each in (self.loading_seconds, self.answering_seconds))
        costs = f"Loading an image takes {loading} of one core, answering it with all methods {answering} of"
        if self.shared_cores:
            share = self.loading_seconds / max(self.loading_seconds + self.answering_seconds, 1e-9)
            return (
                f"{costs} the CPU: both share its cores, and loading is {share:.0%} of the work. --workers would not "
                "mend that; a GPU or more cores would."
            )
        if self.loading_holds_it_up:
            processes = pluralise(self.workers, "loading process", "loading processes")
            by = f"with {processes}" if self.workers else "in turn"
            mended = f"--workers {self.enough_workers} would mend that, given as many cores."
            return f"{costs} the device: the run waits for loading, {by}. {mended}"
        return f"{costs} the device: the run waits for the device, and more --workers would not make it faster."


def seconds_of_loading(
    prepared: Prepared, condition: Condition, count: int, methods: Iterable[Method[Any]] | None = None
) -> float:
    """Load ``count`` images in this process, as a loading process would for ``methods``; return seconds per image.

    Args:
        prepared: the request with what it names.
        condition: corruption and severity of the images.
        count: number of images.
        methods: those for which the images are prepared; None for all.
    """
    preparations = prepared.preparations(prepared.seeded.values() if methods is None else methods)
    places = [(condition, entry) for entry in prepared.dataset.entries(condition)[:count]]
    loader = Loader(prepared.dataset, preparations)
    fastest = math.inf
    for _ in range(2):  # the first round reads from the disk, and may import a decoder
        started = time.perf_counter()
        for _ in loader.load(places, len(places), preparations):
            pass
        fastest = min(fastest, time.perf_counter() - started)
    return fastest / max(1, len(places))
