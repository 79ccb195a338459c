"""What the views of an image cost on one core: 63 crops of a photograph, and with AugMix; drawn and made.

``torchvision``'s own transforms, one view after the other, are measured beside them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from apm_tta.views import ViewSpec, draw_views, make_views

SIZE, VIEW, COUNT = (500, 375), 224, 64
ALLOWED_MS = {False: 55.0, True: 350.0}


def milliseconds(work: Callable[[], object], rounds: int = 7) -> float:
    """Return the least CPU time of a few rounds."""
    times = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        times.append(1000 * (time.process_time() - started))
    return min(times)


@pytest.mark.benchmark(group="views")
@pytest.mark.parametrize("augmix", [False, True], ids=["crops", "augmix"])
def test_views_of_a_photograph(augmix: bool) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        levels = np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
        image, spec = Image.fromarray(levels), ViewSpec(COUNT, augmix=augmix)
        pixels = [torch.from_numpy(levels)]
        steps: list[torch.nn.Module] = [v2.RandomResizedCrop(VIEW, antialias=True), v2.RandomHorizontalFlip()]
        plain = v2.Compose([*steps, *([v2.AugMix(severity=1, all_ops=False)] if augmix else []), v2.PILToTensor()])
        drawing = milliseconds(lambda: draw_views(spec, 0, "photograph", SIZE, VIEW))
        draws = draw_views(spec, 0, "photograph", SIZE, VIEW)[None]
        making = milliseconds(lambda: make_views(spec, VIEW, pixels, draws))
        one_by_one = milliseconds(lambda: [plain(image) for _ in range(COUNT - 1)], rounds=3)
    finally:
        torch.set_num_threads(threads)
    print(f"\n{COUNT - 1} views: {drawing:.2f} ms drawing, {making:.1f} ms pixels; torchvision {one_by_one:.1f} ms")
    assert drawing + making <= ALLOWED_MS[augmix]
