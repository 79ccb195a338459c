"""Augmented views of an image: random resized crops with random flips, and with AugMix where a paper uses it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from apm_tta.randomness import seed_for
from apm_tta.teachers.evaluation_crop import normalized
from apm_tta.teachers.preprocessing import Preprocessing


@dataclass(frozen=True)
class ViewSpec:
    """A description of views; methods with equal descriptions share their views.

    Attributes:
        count: N, the evaluation crop at index 0 included.
        crop_scale: bounds of the share of the image's area that a crop shows, which is drawn uniformly between them.
        augmix: whether AugMix (arXiv 1912.02781; severity 1, three chains, as TPT's code runs it) follows the crop.
    """

    count: int = 64
    crop_scale: tuple[float, float] = (0.08, 1.0)
    augmix: bool = False


class Views:
    """The random views of images, all except the evaluation crop, as ``uint8``.

    Args:
        spec: describes the views.
        preprocessing: the teacher's size and interpolation.
        seed: the run's. View k of an image is a function of the seed, the image's id, k and ``spec`` without its count:
            a smaller count yields the first views of a larger one.
    """

    def __init__(self, spec: ViewSpec, preprocessing: Preprocessing, seed: int) -> None:
        self._spec = spec
        self._size = preprocessing.size
        self._seed = seed
        self._purpose = f"view {spec.crop_scale} {'augmix' if spec.augmix else 'crop'}"
        mode = InterpolationMode(preprocessing.interpolation)
        transforms: list[torch.nn.Module] = [
            v2.RandomResizedCrop(preprocessing.size, scale=spec.crop_scale, interpolation=mode, antialias=True),
            v2.RandomHorizontalFlip(),
        ]
        if spec.augmix:
            transforms.append(v2.AugMix(severity=1, all_ops=False))
        self._transform = v2.Compose([*transforms, v2.PILToTensor()])

    def of(self, sample_id: str, image: Image.Image) -> Tensor:
        """Make views 1 .. N - 1 of one image, ``(N - 1, 3, S, S)``, ``uint8``."""
        # torchvision draws from torch's global generator, whose state is restored afterwards.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for(self._seed, sample_id, self._purpose))
            views = [self._transform(image) for _ in range(1, self._spec.count)]
        return torch.stack(views) if views else torch.empty((0, 3, self._size, self._size), dtype=torch.uint8)


def stack_pixels(evaluation_crop: Tensor, views: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Stack view 0 ``(3, S, S)`` and random ``uint8`` views ``(N - 1, 3, S, S)`` to ``(N, 3, S, S)``, normalised."""
    if not len(views):
        return evaluation_crop[None]
    return torch.cat([evaluation_crop[None], normalized(views.to(evaluation_crop.device), preprocessing)])
