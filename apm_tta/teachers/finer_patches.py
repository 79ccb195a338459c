"""A plain ViT whose patches overlap: its patch embedding moves by less than a patch, positions are interpolated.

Amir, Gandelsman, Bagon, Dekel. Deep ViT Features as Dense Visual Descriptors. arXiv 2112.05814, section 3.1.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from open_clip.transformer import VisionTransformer as OpenClipViT
from timm.models.vision_transformer import VisionTransformer as TimmViT
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from apm_tta.errors import UserError
from apm_tta.teachers.base import Teacher


@torch.no_grad()
def tokens_of_finer_patches(teacher: Teacher, pixels: Tensor, layers: Sequence[int], factor: int) -> list[Tensor]:
    """Compute tokens of a plain ViT whose patch embedding moves by a k-th of a patch.

    The border's pixels are continued by as much as there are k tokens for each patch: a token stands for the centre of
    its cell, of which a patch has k by k. The teacher itself stays as it is; weights are shared, not copied.

    Args:
        teacher: with an image tower that is open_clip's or timm's ``VisionTransformer``.
        pixels: ``(B, 3, S, S)``.
        layers: counted from 0, or from the end.
        factor: k, a divisor of the patch's side.

    Returns:
        Tokens ``(B, k * h, k * w, C)`` of each layer, float32.

    Raises:
        UserError: for another tower, a layer that does not exist, or a factor that is no divisor. Exit code 2.
    """
    tower = next((each for each in teacher.image_encoder.modules() if type(each) in (OpenClipViT, TimmViT)), None)
    patch = teacher.patch_size
    positions = _positions(tower)
    if tower is None or patch is None or positions is None:
        raise UserError(
            f"--fine stride is for plain ViTs, and teacher {teacher.name} is none; choose shift or bilinear",
            exit_code=2,
        )
    side = pixels.shape[-1] // patch
    if patch % factor:
        divisors = ", ".join(str(side * each) for each in range(1, patch + 1) if patch % each == 0)
        raise UserError(
            f"--fine stride cannot move patches of {patch} pixels by a {factor}th; resolutions: {divisors}", 2
        )
    count = teacher.layers
    if missing := [layer for layer in layers if not -count <= layer < count]:
        raise UserError(f"teacher {teacher.name} has layers 0 to {count - 1}; there is no layer {missing[0]}", 2)
    finer = _with_stride(tower, patch // factor, positions, side, side * factor)
    before, after = (patch - patch // factor) // 2, -(-(patch - patch // factor) // 2)
    around = pad(pixels, (before, after, before, after), mode="replicate")
    wanted = [layer % count for layer in layers]
    depths = sorted(set(wanted))
    with _attention_without_its_matrix():
        output = finer.forward_intermediates(around, indices=depths, intermediates_only=True, output_fmt="NLC")
    tokens = output["image_intermediates"] if isinstance(output, dict) else output
    shape = (side * factor, side * factor)
    by_depth = {depth: each.unflatten(1, shape).float() for depth, each in zip(depths, tokens, strict=True)}
    return [by_depth[layer] for layer in wanted]


@contextmanager
def _attention_without_its_matrix() -> Iterator[None]:
    """Keep torch's shortcut for attention off: it holds all pairs of tokens, and takes four times as long for many."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _positions(tower: Any) -> str | None:
    """Return the name of a tower's learned positions; None where it has none that could be interpolated."""
    name = "positional_embedding" if type(tower) is OpenClipViT else "pos_embed"
    found = getattr(tower, name, None)
    return name if isinstance(found, nn.Parameter) and not getattr(tower, "dynamic_img_size", False) else None


def _with_stride(tower: Any, stride: int, name: str, side: int, finer_side: int) -> Any:
    """Return a copy of a tower with another stride and as many positions; all other modules are the tower's own."""
    finer = _shallow(tower)
    if type(tower) is OpenClipViT:
        finer.conv1 = _shallow(tower.conv1)
        finer.conv1.stride = (stride, stride)
    else:
        finer.patch_embed = _shallow(tower.patch_embed)
        finer.patch_embed.proj = _shallow(tower.patch_embed.proj)
        finer.patch_embed.proj.stride = (stride, stride)
        finer.patch_embed.img_size = None  # the padded image has another size
    positions = getattr(tower, name)
    setattr(finer, name, nn.Parameter(_interpolated(positions, side, finer_side), requires_grad=False))
    return finer


def _shallow(module: nn.Module) -> Any:
    """Copy a module so that what is set on the copy stays off the original."""
    copied = copy.copy(module)
    for registry in ("_modules", "_parameters", "_buffers"):
        setattr(copied, registry, dict(getattr(module, registry)))
    return copied


def _interpolated(positions: Tensor, side: int, finer_side: int) -> Tensor:
    """Interpolate positions ``(..., prefix + h * h, C)`` to ``h'`` per side; those of prefix tokens stay."""
    if side == finer_side:
        return positions
    flat = positions.reshape(-1, positions.shape[-1])
    prefix = len(flat) - side**2
    grid = flat[prefix:].T.unflatten(1, (side, side))[None].float()
    finer = interpolate(grid, (finer_side, finer_side), mode="bicubic", align_corners=False)
    joined = torch.cat([flat[:prefix], finer[0].flatten(1).T.to(positions.dtype)])
    return joined.reshape(*positions.shape[:-2], *joined.shape)
