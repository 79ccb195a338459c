"""Measure memory and time of TransCLIP on as many images and classes as ImageNet has.

``python -m benchmarks.transductive`` draws features and class weights, and prints what answering them all together
takes beyond these; ``--iterations`` are those of the method, 10 by default.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time

import torch
from torch.nn.functional import normalize

from apm_tta.methods import build_parameters
from apm_tta.methods.transclip import assigned

IMAGES, CLASSES, FEATURES = 50_000, 1000, 512


def peak_gigabytes() -> float:
    """Return the largest memory that this process has had."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def main(iterations: int) -> None:
    """Print memory and time of one condition."""
    generator = torch.Generator().manual_seed(0)
    images, classes = (
        normalize(torch.randn(count, FEATURES, generator=generator), dim=-1) for count in (IMAGES, CLASSES)
    )
    logits = 100 * images @ classes.T
    before, started = peak_gigabytes(), time.perf_counter()
    assigned(images, logits, classes, build_parameters("transclip", {"iterations": iterations}))
    seconds, more = time.perf_counter() - started, peak_gigabytes() - before
    size = f"{IMAGES:,} images, {CLASSES} classes, {FEATURES} features"
    sys.stdout.write(f"{size}, {iterations} iterations: {seconds:.0f} s, {more:.2f} GB beside the inputs\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=10)
    with torch.no_grad():
        main(parser.parse_args().iterations)
