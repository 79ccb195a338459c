"""Measure the package on a GPU, and write ``results/gpu.md``: ``python -m benchmarks.gpu``.

``--smoke`` takes every measurement on the CPU with small sizes: it proves nothing but that they run to their end.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from apm_tta.system.files import write_output
from benchmarks.gpu import answers, apm_iteration, cuda_tests, processes, throughput
from benchmarks.gpu.page import NOTHING, empty_page, page
from benchmarks.gpu.section import Found, Section, Setting
from benchmarks.gpu.sizes import FULL, SMOKE

SECTIONS: tuple[Section, ...] = (
    cuda_tests.SECTION,
    answers.SECTION,
    throughput.SECTION,
    apm_iteration.SECTION,
    processes.SECTION,
)
PAGE = Path(__file__).resolve().parents[2] / "results" / "gpu.md"
SECONDS = 480.0
_LEAST_SECONDS = 30.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the command; return its exit code: 1 where something is not as it must be, 2 for a wrong call."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="small sizes, on the CPU")
    parser.add_argument("--out", type=Path, default=PAGE, help="the page that is written")
    chosen = parser.parse_args(arguments)
    if not chosen.smoke and not torch.cuda.is_available():
        print("benchmarks.gpu: there is no CUDA device here; --smoke tries everything on the CPU", file=sys.stderr)
        return 2
    if chosen.smoke and chosen.out.exists() and NOTHING not in chosen.out.read_text(encoding="utf-8"):
        print(f"benchmarks.gpu: {chosen.out} has been measured; --smoke needs another --out", file=sys.stderr)
        return 2
    device = torch.device("cpu" if chosen.smoke else "cuda:0")
    started = time.monotonic()
    found: dict[Section, Found] = {}
    with tempfile.TemporaryDirectory() as folder:
        setting = Setting(device, SMOKE if chosen.smoke else FULL, Path(folder), started + SECONDS)
        for section in SECTIONS:
            in_time = setting.left() > _LEAST_SECONDS
            found[section] = (
                section.measure(setting) if in_time else Found(remarks=["Not measured: the time was over."])
            )
            print(f"{section.title}: {setting.left():.0f} s left", file=sys.stderr)
    text = empty_page(SECTIONS) if chosen.smoke else page(_name(device), _versions(), time.monotonic() - started, found)
    write_output(chosen.out, text.encode())
    failed = [each for part in found.values() for each in part.failed]
    for each in failed:
        print(f"benchmarks.gpu: {each}", file=sys.stderr)
    return 1 if failed else 0


def _name(device: torch.device) -> str:
    properties = torch.cuda.get_device_properties(device)
    return f"{properties.name}, {properties.total_memory / 1e9:.0f} GB"


def _versions() -> str:
    return f"torch {torch.__version__}, CUDA {torch.version.cuda}"


if __name__ == "__main__":
    sys.exit(main())
