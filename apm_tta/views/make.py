"""Pixels of views from the random choices behind them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from apm_tta.views.on_device import views_of_images
from apm_tta.views.spec import ViewSpec
from apm_tta.views.with_pillow import views_of_image


def make_views(spec: ViewSpec, view_size: int, images: Sequence[Tensor], draws: Tensor) -> Tensor:
    """Make views 1 .. N - 1 of images, on the images' device: the same bytes on every one.

    On a CPU by Pillow, elsewhere by a form of its arithmetic for many images at once. Operations of AugMix may there
    differ by one grey level where Pillow's compiler rounded otherwise.

    Args:
        spec: describes the views.
        view_size: S, pixels.
        images: ``(H, W, 3)`` each, ``uint8``, of any sizes.
        draws: one row per view, ``(B, N - 1, columns)``, on the CPU; see ``draw_views``.

    Returns:
        ``(B, N - 1, 3, S, S)``: ``uint8``, or with AugMix ``float32`` in 0 .. 255, which is not rounded.
    """
    kind = torch.float32 if spec.augmix else torch.uint8
    if not draws.shape[0] or not draws.shape[1]:
        device = images[0].device if images else torch.device("cpu")
        return torch.empty((*draws.shape[:2], 3, view_size, view_size), dtype=kind, device=device)
    if images[0].device.type != "cpu":
        return views_of_images(spec, view_size, images, draws)
    return torch.stack(
        [
            views_of_image(spec, view_size, Image.fromarray(image.numpy()), drawn)
            for image, drawn in zip(images, draws, strict=True)
        ]
    )
