"""Ways to features between a grid's locations: with a factor of 1 the tokens, otherwise what they are said to be."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import timm
import torch
from open_clip.transformer import VisionTransformer
from torch import Tensor
from torch.nn.functional import avg_pool2d

from apm_tta.data.unlabelled import one_image
from apm_tta.errors import UserError
from apm_tta.islands.fine import WAYS, cell_centres, fine_grids
from apm_tta.islands.fine.shift import mean_over_shifts
from apm_tta.teachers import Teacher, load_teacher
from apm_tta.teachers.finer_patches import tokens_of_finer_patches
from apm_tta.teachers.square import Square

PATCH, SIDE = 4, 3


def pixels_for(teacher: Teacher) -> Tensor:
    return Square(teacher.preprocessing)(one_image("fashion-mnist:test/00004").read())[None]


def vit(kind: str) -> Any:
    """Return a small ViT with drawn weights as a teacher: 12 pixels, patches of 4, two layers."""
    generator = torch.Generator().manual_seed(5)
    tower: Any
    if kind == "open_clip":
        tower = VisionTransformer(PATCH * SIDE, PATCH, 16, 2, 2, 4.0, output_dim=8)
    else:
        tower = timm.models.vision_transformer.VisionTransformer(
            img_size=PATCH * SIDE, patch_size=PATCH, embed_dim=16, depth=2, num_heads=2, num_classes=0
        )
    for parameter in tower.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    tower.eval()

    def encode_grids(pixels: Tensor, layers: Sequence[int]) -> list[Tensor]:
        output = tower.forward_intermediates(pixels, indices=sorted(layers), intermediates_only=True)
        found = output["image_intermediates"] if isinstance(output, dict) else output
        return [each.permute(0, 2, 3, 1) for each in found]

    return SimpleNamespace(
        name=kind, image_encoder=tower, patch_size=PATCH, layers=2, encode_grids=encode_grids, tower=tower
    )


@pytest.mark.parametrize("way", WAYS.names())
@pytest.mark.parametrize("kind", ["open_clip", "timm"])
def test_without_a_factor_every_way_gives_the_tokens(way: str, kind: str) -> None:
    teacher = vit(kind)
    pixels = torch.randn(1, 3, PATCH * SIDE, PATCH * SIDE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = [grid[0] for grid in teacher.encode_grids(pixels, [0, 1])]
    for resolution in (None, SIDE):
        found = fine_grids(teacher, pixels, [0, 1], resolution, way)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one.features, other)
            assert one.factor == 1


@pytest.mark.parametrize("way", WAYS.names())
def test_the_embedded_teacher_has_its_tokens_and_as_many_features_as_asked_for(
    way: str, embedded_teacher: Teacher
) -> None:
    pixels = pixels_for(embedded_teacher)
    (own,) = fine_grids(embedded_teacher, pixels, [-1], None, way)
    assert torch.equal(own.features, embedded_teacher.encode_grid(pixels)[0])
    (fine,) = fine_grids(embedded_teacher, pixels, [-1], 16, way)
    assert (tuple(fine.features.shape[:2]), fine.factor) == ((16, 16), 2)
    # Neighbouring features are means or neighbours of the same tokens: they resemble these more than other places'.
    blocks = avg_pool2d(fine.features.permute(2, 0, 1), 2).permute(1, 2, 0)
    similar = torch.cosine_similarity(blocks, own.features, dim=-1).mean()
    assert similar > torch.cosine_similarity(blocks, own.features.flip(0, 1), dim=-1).mean() + 0.05


@pytest.mark.parametrize("kind", ["open_clip", "timm"])
def test_stride_embeds_the_patch_around_each_place(kind: str) -> None:
    """Without positions, and with blocks that add nothing, a token is what its patch alone says."""
    teacher = vit(kind)
    positions = teacher.tower.positional_embedding if kind == "open_clip" else teacher.tower.pos_embed
    positions.data.zero_()
    for name, parameter in teacher.tower.named_parameters():
        if "out_proj" in name or "c_proj" in name or "attn.proj" in name or "fc2" in name:
            parameter.data.zero_()
    weights = copy.deepcopy(teacher.tower.state_dict())
    large = torch.randn(1, 3, 40, 40, generator=torch.Generator().manual_seed(2))
    image = large[..., 10 : 10 + PATCH * SIDE, 10 : 10 + PATCH * SIDE]
    factor, step = 4, 1
    (fine,) = tokens_of_finer_patches(teacher, image, [1], factor)
    assert fine.shape == (1, SIDE * factor, SIDE * factor, 16)
    before = (PATCH - step) // 2
    for row, column in ((2, 3), (5, 5), (1, 9)):  # their patches lie within the image
        top, left = 10 + row * step - before, 10 + column * step - before
        with torch.no_grad():
            (moved,) = teacher.encode_grids(large[..., top : top + 12, left : left + 12], [1])
        torch.testing.assert_close(fine[0, row, column], moved[0, 0, 0])
    assert all(torch.equal(value, weights[name]) for name, value in teacher.tower.state_dict().items())


def test_stride_interpolates_positions_to_the_centres_of_its_cells() -> None:
    """Positions that grow linearly stay linear, except near the border, beyond which there is nothing to lean on."""
    teacher = vit("open_clip")
    teacher.tower.conv1.weight.data.zero_()
    ramp = torch.arange(SIDE).float()
    teacher.tower.positional_embedding.data.zero_()
    teacher.tower.positional_embedding.data[1:, 0] = ramp.repeat_interleave(SIDE)
    teacher.tower.positional_embedding.data[1:, 1] = ramp.repeat(SIDE)
    teacher.tower.ln_pre = torch.nn.Identity()
    for name, parameter in teacher.tower.named_parameters():
        if "out_proj" in name or "c_proj" in name:
            parameter.data.zero_()
    (fine,) = tokens_of_finer_patches(teacher, torch.zeros(1, 3, 12, 12), [1], 2)
    places = cell_centres(SIDE, 2)
    found = fine[0].flatten(0, 1)[:, :2]
    inner = ((places >= 0.5) & (places <= SIDE - 1.5)).all(1)
    assert int(inner.sum()) >= 4
    torch.testing.assert_close(found[inner], places[inner], atol=0.1, rtol=0)


def test_shift_is_the_mean_of_the_tokens_whose_patches_cover_a_place() -> None:
    """Compare with a loop over all copies, patches and cells, for a teacher whose token is its patch's mean."""
    teacher: Any = SimpleNamespace(
        name="means", encode_grids=lambda pixels, _layers: [avg_pool2d(pixels, PATCH).permute(0, 2, 3, 1)]
    )
    size, factor = PATCH * SIDE, 4
    pixels = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(3))
    tokens = teacher.encode_grids(pixels, [0])[0][0]
    (found,) = mean_over_shifts(teacher, pixels, {0: tokens}, factor)
    image = pixels[0].permute(1, 2, 0).numpy()

    def colour(row: int, column: int) -> np.ndarray:
        continued: np.ndarray = image[min(max(row, 0), size - 1), min(max(column, 0), size - 1)]
        return continued

    total, count = np.zeros((size, size, 3)), np.zeros((size, size, 1))
    for down in (-1, 0, 1, 2):
        for right in (-1, 0, 1, 2):
            for top in range(down, down + size, PATCH):
                for left in range(right, right + size, PATCH):
                    covered = [(i, j) for i in range(top, top + PATCH) for j in range(left, left + PATCH)]
                    token = np.mean([colour(i, j) for i, j in covered], 0)
                    for i, j in covered:
                        if 0 <= i < size and 0 <= j < size:
                            total[i, j] += token
                            count[i, j] += 1
    np.testing.assert_allclose(found.numpy(), total / count, atol=1e-5)


def test_layers_of_several_sizes_have_one_resolution() -> None:
    teacher = load_teacher("embedded-resnet")
    grids = fine_grids(teacher, pixels_for(teacher), [0, -1], 32, "bilinear")
    assert [(tuple(grid.features.shape[:2]), grid.factor) for grid in grids] == [((32, 32), 2), ((32, 32), 16)]


@pytest.mark.parametrize(
    ("teacher", "layers", "resolution", "way", "message"),
    [
        ("embedded", [3], 30, "bilinear", "--resolution 30 is no multiple of a grid of 8 x 8; choose 32, for instance"),
        ("embedded", [3], 24, "stride", "cannot move patches of 4 pixels by a 3th; resolutions: 8, 16, 32"),
        ("embedded", [3], 24, "shift", "cannot divide patches of 4 pixels by 3; resolutions: 8, 16, 32"),
        ("embedded", [3], 16, "field", "--fine field is not for the layers of teacher embedded; choose"),
        ("embedded-resnet", [3], 16, "stride", "for plain ViTs, and teacher embedded-resnet is none; choose shift or"),
    ],
)
def test_what_cannot_be_served_is_refused_in_one_line(
    teacher: str, layers: list[int], resolution: int, way: str, message: str
) -> None:
    loaded = load_teacher(teacher)
    with pytest.raises(UserError, match=message) as refused:
        fine_grids(loaded, pixels_for(loaded), layers, resolution, way)
    assert refused.value.exit_code == 2
    assert "\n" not in str(refused.value)
