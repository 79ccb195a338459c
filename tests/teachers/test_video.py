"""The video transformer's tokens are those of torchvision's own forward pass, by time and location."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models.video import MViT_V2_S_Weights, mvit_v2_s

from apm_tta.errors import UserError
from apm_tta.teachers.video import load_video_teacher

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a checkpoint of this architecture with random weights."""
    path = tmp_path_factory.mktemp("video") / "mvit.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_file(mvit_v2_s().state_dict(), path)
    return path


def test_tokens_equal_the_blocks_outputs_in_torchvisions_own_pass(weights: Path) -> None:
    teacher = load_video_teacher(str(weights), CPU)
    video = torch.randn(1, 3, 16, 224, 224, generator=torch.Generator().manual_seed(1))
    seen: dict[int, Any] = {}
    model = teacher._model
    for index in (1, 15):
        model.blocks[index].register_forward_hook(lambda _m, _i, output, index=index: seen.update({index: output}))
    with torch.no_grad():
        model(video)
    expected = {index: (output[0].clone(), output[1]) for index, output in seen.items()}
    found = teacher.tokens(video, [15, 1, -1])
    assert [tuple(tokens.shape) for tokens in found] == [(1, 8, 7, 7, 768), (1, 8, 28, 28, 192), (1, 8, 7, 7, 768)]
    for tokens, index in zip(found, (15, 1, 15), strict=True):
        output, size = expected[index]
        assert tuple(tokens.shape[1:4]) == size
        assert torch.equal(tokens.flatten(1, 3), output[:, 1:])


def test_a_shorter_video_has_fewer_frames_of_tokens(weights: Path) -> None:
    teacher = load_video_teacher(str(weights), CPU)
    (tokens,) = teacher.tokens(torch.zeros(1, 3, 4, 224, 224), [-1])
    assert tokens.shape == (1, 2, 7, 7, 768)
    with pytest.raises(UserError, match="a video of 1 frame is too short; it needs at least 2"):
        teacher.tokens(torch.zeros(1, 3, 1, 224, 224), [0])
    with pytest.raises(UserError, match="mvit_v2_s has blocks 0 to 15; there is no block 16"):
        teacher.tokens(torch.zeros(1, 3, 4, 224, 224), [0, 16])


def test_missing_weights_and_those_of_another_model_are_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"unknown weights of mvit_v2_s .* 'nowhere'; there are: DEFAULT, KINETICS400_V1"
    ):
        load_video_teacher("nowhere", CPU)
    other = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, other)
    with pytest.raises(UserError, match="is not a checkpoint of this architecture"):
        load_video_teacher(str(other), CPU)


def test_loading_does_not_advance_the_global_generator(weights: Path) -> None:
    before = torch.get_rng_state()
    load_video_teacher(str(weights), CPU)
    assert torch.equal(before, torch.get_rng_state())


def test_a_downloaded_file_that_is_not_what_its_name_says_is_refused(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file's name ends in the digest that it must have, which torchvision compares only while it downloads."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    name = Path(MViT_V2_S_Weights.KINETICS400_V1.url).name
    (folder / name).write_bytes(weights.read_bytes())
    with pytest.raises(UserError, match=f"{name} is not what its name says; remove it"):
        load_video_teacher("KINETICS400_V1", CPU)
