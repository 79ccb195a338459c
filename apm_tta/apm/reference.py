"""The names of an APM's tensors in the published release."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from apm_tta.apm.config import APMConfig

# Present in released checkpoints, but never used by the released forward pass.
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

_LINEAR = ("fc1", "fc2", "fc3", "fc4", "fc5", "feat_proj_head", "rgb_head_1", "rgb_head_2", "rgb_head_3")
_DIMENSIONS = {"conv1.weight": 4, **{f"{name}.weight": 2 for name in _LINEAR}}

_QUERY = "little_query"
_ATTENTION = {kind: f"little_self_attention.in_proj_{kind}" for kind in ("weight", "bias")}
_GLOBAL_TOKEN = {_QUERY, *_ATTENTION.values(), *(f"little_self_attention.out_proj.{kind}" for kind in _ATTENTION)}


def has_reference_names(state: Mapping[str, Tensor]) -> bool:
    """Return whether the tensors of ``state`` have the release's names."""
    return "feat_proj_head.weight" in state and "conv1.weight" in state


def reference_config(state: Mapping[str, Tensor]) -> APMConfig:
    """Return the sizes of a released checkpoint, from the shapes of its tensors.

    The checkpoint pretrained on many images (seven linear layers with its convolution and its head) has no global
    token: its readout is then the mean, which needs none.

    Raises:
        ValueError: when tensors are missing, or no APM has their sizes.
    """
    depths = [depth for depth, names in _MLP_BY_DEPTH.items() if all(f"{name}.weight" in state for name in names)]
    needed = {"conv1.weight", "feat_proj_head.weight", "rgb_head_1.weight"}
    if not depths or needed - set(state):
        raise ValueError(f"not a released APM checkpoint: {sorted(needed - set(state)) or 'fc1, fc4 or fc5'} missing")
    flat = [name for name, dimensions in _DIMENSIONS.items() if name in state and state[name].ndim != dimensions]
    if flat:
        raise ValueError(f"{flat[0]} has {state[flat[0]].ndim} dimensions, not {_DIMENSIONS[flat[0]]}")
    layers = [state[f"{name}.weight"] for name in _MLP_BY_DEPTH[max(depths)]]
    patch, width = state["conv1.weight"].shape[-1], layers[0].shape[1] // 2
    grid = math.isqrt(width)
    if grid * grid != width:
        raise ValueError(f"its queries have {2 * width} numbers: {width} for the column, which is not a square grid")
    return APMConfig(
        image_size=grid * patch,
        patch_size=patch,
        hidden=tuple(layer.shape[0] for layer in layers),
        feature_dim=state["feat_proj_head.weight"].shape[0],
        rgb_hidden=state["rgb_head_1.weight"].shape[0],
        readout="token" if _QUERY in state else "mean",
    )


def from_reference_names(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], needs_token: bool = True
) -> dict[str, Tensor]:
    """Return the tensors of ``state``, which has the release's names, under this package's names.

    Args:
        state: a released checkpoint's state dict; the attention's input projections are one tensor of three blocks.
        own: the state dict of the APM to load them into: its names and shapes are the expected ones.
        needs_token: whether the global token is used; one that is not, and that the checkpoint lacks altogether, stays
            as it is.

    Raises:
        ValueError: naming the tensors that are missing, surplus or of another shape.
    """
    depth = sum(name.startswith("mlp.") and name.endswith(".weight") for name in own)
    if depth not in _MLP_BY_DEPTH:
        raise ValueError(f"the release has MLPs of {sorted(_MLP_BY_DEPTH)} ReLU layers; this APM has {depth}")
    layers = {**_LAYERS, **{f"mlp.{index}": name for index, name in enumerate(_MLP_BY_DEPTH[depth])}}
    names = {f"{ours}.{kind}": f"{theirs}.{kind}" for ours, theirs in layers.items() for kind in ("weight", "bias")}
    names["global_token.query"] = _QUERY
    absent = set() if needs_token or _GLOBAL_TOKEN & set(state) else _GLOBAL_TOKEN
    expected = {*names.values(), *_ATTENTION.values()} - absent
    missing, surplus = sorted(expected - set(state)), sorted(set(state) - expected - _UNUSED)
    if missing or surplus:
        raise ValueError(f"not a released APM checkpoint of this depth: missing {missing}, surplus {surplus}")

    loaded = {ours: state[theirs] for ours, theirs in names.items() if theirs not in absent}
    for kind, theirs in _ATTENTION.items() if not absent else ():
        if state[theirs].ndim == 0 or len(state[theirs]) % 3:
            raise ValueError(f"{theirs} is {tuple(state[theirs].shape)}, not three blocks")
        blocks = torch.chunk(state[theirs], 3)
        for part, block in zip(("query", "key", "value"), blocks, strict=True):
            loaded[f"global_token.project_{part}.{kind}"] = block
    wrong = [
        f"{name} is {tuple(tensor.shape)}, not {tuple(own[name].shape)}"
        for name, tensor in loaded.items()
        if tensor.shape != own[name].shape
    ]
    if wrong:
        raise ValueError(f"the checkpoint's sizes differ from this configuration's: {'; '.join(wrong)}")
    return {**{name: value for name, value in own.items() if absent and name not in loaded}, **loaded}
