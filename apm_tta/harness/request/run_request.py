"""What one ``run-bench SUITE`` asks for beyond the suite itself: where, not what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Request:
    """Nothing here decides a number, but for the data themselves.

    Attributes:
        data_root: where the data set lies; None for what the package carries.
        root_from_environment: whether nobody wrote that root for this very run.
        support: labelled images for prototypes and nearest neighbours, a folder a class; None for none.
        out: run folder; None for a new one below ``results/<suite>/``. One that holds the same run is gone on with.
        force_new: where ``out`` exists, a new folder beside it is taken.
        devices: ``cpu``, ``cuda``, ``cuda:N``, ``auto`` for a GPU where there is one, ``all`` for every GPU; a process
            for each where there are several.
        engine: name of an engine; None is ``serial`` for one device, ``local`` for several.
        ray: address of a Ray cluster, ``auto``, or ``local`` for one that is started here.
        gpu_share: of one GPU, for every task of Ray.
        part: ``(i, n)``: the i-th of n parts of the work, counted from 1; None for all of it.
        memory: GiB that a method which can choose may hold; None is a share of what is free.
        workers: loading processes; None is ``default_workers``.
        feature_cache: whether the teacher's features are kept on disk, and taken from there.
        quiet: no progress bar.
        json: events as lines of JSON on standard output, no progress bar.
    """

    data_root: Path | None = None
    root_from_environment: bool = False
    support: Path | None = None
    out: Path | None = None
    force_new: bool = False
    devices: tuple[str, ...] = ("auto",)
    engine: str | None = None
    ray: str = "auto"
    gpu_share: float = 1.0
    part: tuple[int, int] | None = None
    memory: float | None = None
    workers: int | None = None
    feature_cache: bool = False
    quiet: bool = False
    json: bool = False
