"""Views of a batch's images: drawn where images are loaded, made where the teacher is."""

from __future__ import annotations

import torch
from PIL import Image
from torch import Tensor

from apm_tta.methods.batch import CommonKey
from apm_tta.methods.preparation import Preparation
from apm_tta.teachers.preprocessing import Preprocessing
from apm_tta.views import ViewSpec, draw_views, make_views

__all__ = ["ViewSpec", "Views", "drawn_views"]


class Views:
    """The random views of images, all except the evaluation crop.

    Args:
        spec: describes the views.
        preprocessing: the teacher's, for its size.
        seed: the run's. View k of an image is a function of the seed, the image's id, k and ``spec`` without its count:
            a smaller count yields the first views of a larger one.
    """

    def __init__(self, spec: ViewSpec, preprocessing: Preprocessing, seed: int) -> None:
        self._spec, self._size, self._draw = spec, preprocessing.size, _Draw(spec, seed, preprocessing.size)

    def of(self, sample_id: str, image: Image.Image) -> Tensor:
        """Make views 1 .. N - 1 of one image, ``(N - 1, 3, S, S)``: ``uint8``, with AugMix ``float32`` in 0 .. 255."""
        pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(image.height, image.width, 3)
        return make_views(self._spec, self._size, [pixels], self._draw(sample_id, image)[None])[0]


def drawn_views(spec: ViewSpec, seed: int, view_size: int) -> Preparation:
    """Return what draws the views of an image; see ``draw_views``. Their pixels are made on the device."""
    key = CommonKey("views", (spec, seed, view_size))
    return Preparation(key, _Draw(spec, seed, view_size), whole_images=True, on_device=False)


class _Draw:
    def __init__(self, spec: ViewSpec, seed: int, view_size: int) -> None:
        self._spec, self._seed, self._view_size = spec, seed, view_size

    def __call__(self, sample_id: str, image: Image.Image) -> Tensor:
        return draw_views(self._spec, self._seed, sample_id, image.size, self._view_size)
