"""A video transformer, torchvision's ``mvit_v2_s`` (MViTv2, arXiv 2112.01526), and its tokens by location and time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.video import MViT_V2_S_Weights, mvit_v2_s

from apm_tta.errors import UnknownName, UserError
from apm_tta.system.files import is_file
from apm_tta.teachers.checkpoints import (
    load_strictly,
    one_line_errors,
    read_state_dict,
    refuse_changed,
    weights_file,
)
from apm_tta.teachers.preprocessing import Preprocessing
from apm_tta.teachers.weight_names import without_prefix
from apm_tta.wording import pluralise

# As in torchvision's own transform for these weights, except for its crop.
PREPROCESSING = Preprocessing(224, (0.45, 0.45, 0.45), (0.225, 0.225, 0.225), "bilinear")


class VideoTeacher:
    """A frozen ``mvit_v2_s``.

    Args:
        model: torchvision's.
        weights: name of its weights, as requested.
        weights_sha256: of their file.
        device: where it computes.
    """

    def __init__(self, model: nn.Module, weights: str, weights_sha256: str, device: torch.device) -> None:
        frozen: Any = model.eval().requires_grad_(False).to(device)
        self._model = frozen
        self.weights, self.weights_sha256, self.device = weights, weights_sha256, device
        self.blocks = len(frozen.blocks)
        self.frame_stride = int(frozen.conv_proj.stride[0])

    @torch.no_grad()
    def tokens(self, video: Tensor, blocks: Sequence[int]) -> list[Tensor]:
        """Compute the tokens after some blocks, by time and location.

        Args:
            video: ``(B, 3, T, 224, 224)``.
            blocks: counted from 0, or from the end.

        Returns:
            Tokens ``(B, T', h, w, C)`` of each block; T' = T / 2.

        The positions of this model are relative, so that T may differ from the 16 frames that it was trained on: the
        table of temporal distances is then interpolated, as torchvision does when the sizes of two layers differ.

        Raises:
            UserError: when a block does not exist, or the video is too short. Exit code 2.
        """
        for block in blocks:
            if not -self.blocks <= block < self.blocks:
                raise UserError(f"mvit_v2_s has blocks 0 to {self.blocks - 1}; there is no block {block}", exit_code=2)
        if video.shape[2] < self.frame_stride:
            frames = pluralise(video.shape[2], "frame")
            raise UserError(f"a video of {frames} is too short; it needs at least {self.frame_stride}", 2)
        wanted = [block % self.blocks for block in blocks]
        patches = self._model.conv_proj(video)
        size = tuple(patches.shape[2:])
        hidden = self._model.pos_encoding(patches.flatten(2).transpose(1, 2))
        found = {}
        for index, layer in enumerate(self._model.blocks[: max(wanted) + 1]):
            hidden, size = layer(hidden, size)
            if index in wanted:
                found[index] = hidden[:, 1:].unflatten(1, size).float()
        return [found[block] for block in wanted]


def load_video_teacher(weights: str, device: torch.device) -> VideoTeacher:
    """Load ``mvit_v2_s`` with torchvision's weights of that name, such as ``KINETICS400_V1``, or those in a local file.

    Raises:
        UnknownName: when neither weights of that name nor such a file exist.
        UserError: when they are not available, are not a checkpoint of this model, or contain more than weights.
    """
    names = {entry.name for entry in MViT_V2_S_Weights} | {"DEFAULT"}
    if weights in names:
        path = _downloaded(MViT_V2_S_Weights[weights])
    elif is_file(Path(weights)):
        path = Path(weights)
    else:
        raise UnknownName("weights of mvit_v2_s (no such name, no such file)", weights, names)
    file = weights_file(path)
    with one_line_errors("mvit_v2_s"), torch.random.fork_rng(devices=[]):
        # Drawing the weights that are about to be replaced must not advance the global generator.
        model = mvit_v2_s(weights=None)
    state = read_state_dict(file)
    load_strictly(model, without_prefix(state, model.state_dict(), path), path)
    refuse_changed(file)
    return VideoTeacher(model, weights, file.sha256, device)


def _downloaded(entry: MViT_V2_S_Weights) -> Path:
    """Download torchvision's file into torch's own download folder; its name contains the digest that it must have."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(entry.url).name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(entry.url, str(path), path.stem.rpartition("-")[2], progress=False)
        except (OSError, RuntimeError) as error:  # no network, no room; another digest
            reason = " ".join(str(error).split())
            raise UserError(f"{entry.url} is not available ({reason}); give its file: --weights /path") from None
    if not weights_file(path).sha256.startswith(path.stem.rpartition("-")[2]):
        raise UserError(f"{path} is not what its name says; remove it, and it is downloaded again")
    return path
