"""Models are made without random numbers, and without anything else being different."""

from __future__ import annotations

import open_clip
import torch
from torch import Tensor, nn

from apm_tta.teachers.undrawn import Undrawn

SIZES = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 20, "width": 64, "heads": 1, "layers": 1},
}


def tensors(model: nn.Module) -> dict[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def test_only_what_is_drawn_is_filled_and_with_no_zeros() -> None:
    """What an architecture begins with, such as masks, scales and zeros, is there; the generator is where it was."""
    with torch.random.fork_rng(devices=[]):
        first, second = (tensors(open_clip.CLIP(**SIZES)) for _ in range(2))
        before = torch.random.get_rng_state()
        with Undrawn():
            blocks = [
                nn.init.trunc_normal_(torch.zeros(3, 3)),
                nn.init.xavier_normal_(torch.zeros(3, 3)),
                nn.Linear(3, 3).weight,
            ]
        assert torch.equal(torch.random.get_rng_state(), before)
        with Undrawn():
            undrawn = tensors(open_clip.CLIP(**SIZES))
    assert all(bool(block.isfinite().all()) and bool(block.all()) for block in blocks)
    assert list(undrawn) == list(first)
    assert any(
        bool((value == 1).all()) for name, value in undrawn.items() if not torch.equal(first[name], second[name])
    )
    for name, value in undrawn.items():
        assert value.shape == first[name].shape
        if torch.equal(first[name], second[name]):
            assert torch.equal(value, first[name]), name
        else:
            assert bool(value.any()), name
