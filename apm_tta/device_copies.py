"""Copies between the CPU and a GPU by pinned memory: nobody waits for those to the GPU, and once for those from it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def host_copies(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Copy tensors to the CPU, each to memory of its own; wait once for every GPU that has some of them."""
    copies = []
    for tensor in tensors:
        on_gpu = tensor.device.type == "cuda"
        # From pinned memory and back, copies go on by themselves.
        copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=on_gpu)
        copies.append(copy.copy_(tensor.detach(), non_blocking=on_gpu))
    for device in {tensor.device for tensor in tensors if tensor.device.type == "cuda"}:
        torch.cuda.current_stream(device).synchronize()
    return copies


def device_copy(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the CPU on ``device``; a GPU is not waited for, and has it when it comes to what uses it."""
    if device.type != "cuda" or tensor.device.type == "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
