"""The published release's names for an APM's tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

# In released checkpoints, and never used by the released forward pass.
_UNUSED = {"norm.weight", "norm.bias"}
_MLP_BY_DEPTH = {3: ("fc1", "fc4", "fc5"), 5: ("fc1", "fc2", "fc3", "fc4", "fc5")}
_LAYERS = {
    "convolution": "conv1",
    "feature_head": "feat_proj_head",
    "rgb_head.0": "rgb_head_1",
    "rgb_head.1": "rgb_head_2",
    "rgb_head.2": "rgb_head_3",
    "global_token.project_output": "little_self_attention.out_proj",
}


def from_reference_names(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``state`` in the release's naming -> the same tensors under this package's names.

    Args:
        state: a released checkpoint's state dict; the attention's input projections are one tensor of three blocks.
        own: the state dict of the APM that is to be filled: its names and shapes are what is needed.

    Raises:
        ValueError: naming the tensors that are missing, surplus or of another shape.
    """
    depth = sum(name.startswith("mlp.") and name.endswith(".weight") for name in own)
    if depth not in _MLP_BY_DEPTH:
        raise ValueError(f"the release has MLPs of {sorted(_MLP_BY_DEPTH)} ReLU layers; this APM has {depth}")
    layers = {**_LAYERS, **{f"mlp.{index}": name for index, name in enumerate(_MLP_BY_DEPTH[depth])}}
    names = {f"{ours}.{kind}": f"{theirs}.{kind}" for ours, theirs in layers.items() for kind in ("weight", "bias")}
    names["global_token.query"] = "little_query"
    attention = {kind: f"little_self_attention.in_proj_{kind}" for kind in ("weight", "bias")}

    expected = {*names.values(), *attention.values()}
    missing, surplus = sorted(expected - set(state)), sorted(set(state) - expected - _UNUSED)
    if missing or surplus:
        raise ValueError(f"not a released APM checkpoint of this depth: missing {missing}, surplus {surplus}")

    loaded = {ours: state[theirs] for ours, theirs in names.items()}
    for kind, theirs in attention.items():
        blocks = torch.chunk(state[theirs], 3)
        for part, block in zip(("query", "key", "value"), blocks, strict=True):
            loaded[f"global_token.project_{part}.{kind}"] = block
    wrong = [
        f"{name} is {tuple(tensor.shape)}, not {tuple(own[name].shape)}"
        for name, tensor in loaded.items()
        if tensor.shape != own[name].shape
    ]
    if wrong:
        raise ValueError(f"the checkpoint has other sizes than this configuration: {'; '.join(wrong)}")
    return loaded
