"""Islands are those of the method ``apm``'s own fit, and of a fit to the teacher's grid."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from PIL import Image
from plain_apm import plain_apm
from torch.nn.functional import cosine_similarity

from apm_tta.apm import PRESETS, distill
from apm_tta.data.unlabelled import one_image
from apm_tta.errors import UserError
from apm_tta.islands.formation import chosen_iterations, form
from apm_tta.islands.targets import aim_at_grid, aim_at_token, resample, sizes_for_grid
from apm_tta.methods.apm_input import apm_input
from apm_tta.teachers import Teacher
from apm_tta.teachers.square import Square

FIT = replace(PRESETS["few"], iterations=6)


@pytest.fixture(scope="module")
def image() -> Image.Image:
    return one_image("fashion-mnist:test/00000").read()


def test_the_recorded_fit_equals_the_plain_one(image: Image.Image, embedded_teacher: Teacher) -> None:
    aim = aim_at_token(image, embedded_teacher, FIT)
    formation = form(image, aim, [0, 3, 6], 11, embedded_teacher.device)
    pixels = apm_input(32)(image)[None]
    plain = distill(pixels, aim.goals.tokens, aim.config, FIT, seeds=[11])
    torch.testing.assert_close(torch.tensor(formation.losses), plain.losses[0])
    cosines = cosine_similarity(plain.trajectory[0], aim.goals.tokens, dim=-1)
    torch.testing.assert_close(torch.tensor(formation.cosines), cosines)
    assert formation.losses[-1] < formation.losses[0]
    fresh = plain_apm(aim.config, 11)
    with torch.no_grad():
        torch.testing.assert_close(formation.grids[0], fresh(pixels).grid[0])
    assert [grid.shape for grid in formation.grids] == [(8, 8, 64)] * 3
    assert not torch.equal(formation.grids[1], formation.grids[2])


def test_a_fit_to_the_grid_approaches_the_teacher_s_tokens(image: Image.Image, embedded_teacher: Teacher) -> None:
    fit = replace(FIT, iterations=40, learning_rate=1e-3)
    aim = aim_at_grid(image, embedded_teacher, 1, fit)
    formation = form(image, aim, [0, 40], 0, embedded_teacher.device)
    pixels = Square(embedded_teacher.preprocessing)(image)[None]
    tokens = embedded_teacher.encode_grid(pixels, 1)[0]
    for grid, cosine in zip(formation.grids, (formation.cosines[0], formation.cosines[-1]), strict=True):
        assert cosine_similarity(grid, tokens, dim=-1).mean().item() == pytest.approx(cosine, abs=1e-5)
    assert formation.cosines[-1] > formation.cosines[0] + 0.3
    assert aim.resampled is None


def test_iterations_include_the_first_and_the_last() -> None:
    assert chosen_iterations(250, 50) == [0, 50, 100, 150, 200, 250]
    assert chosen_iterations(7, 5) == [0, 5, 7]
    assert chosen_iterations(0, 5) == [0]


@pytest.mark.parametrize(("side", "size", "patch", "grid"), [(14, 448, 32, 14), (16, 448, 28, 16), (32, 448, 14, 32)])
def test_an_apm_has_its_teacher_s_grid(side: int, size: int, patch: int, grid: int) -> None:
    class Large:
        image_size, patch_size = 224, 16

    config = sizes_for_grid(Large(), torch.zeros(1, side, side, 50))  # type: ignore[arg-type]
    assert (config.image_size, config.patch_size, config.grid, config.feature_dim) == (size, patch, grid, 56)


def test_an_odd_grid_is_interpolated_to_the_next_even_one() -> None:
    class Large:
        image_size, patch_size = 224, 32

    tokens = torch.arange(49.0).reshape(1, 7, 7, 1).expand(1, 7, 7, 8)
    config = sizes_for_grid(Large(), tokens)  # type: ignore[arg-type]
    assert config.grid == 8
    larger = resample(tokens, 8)
    assert larger.shape == (1, 8, 8, 8)
    assert larger.mean().item() == pytest.approx(24.0, abs=1e-4)
    assert torch.equal(resample(tokens, 7), tokens)


def test_a_layer_that_does_not_exist_is_refused(image: Image.Image, embedded_teacher: Teacher) -> None:
    with pytest.raises(UserError, match="layers 0 to 3; there is no layer 9"):
        aim_at_grid(image, embedded_teacher, 9, FIT)
