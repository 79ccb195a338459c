"""What cosines are multiplied by to become logits."""

from __future__ import annotations

import torch
from torch import Tensor

from apm_tta.teachers.base import Classifier


def scales(features: Tensor, logit_scale: float, classifier: Classifier) -> Tensor:
    """Features ``(..., F)`` -> ``(..., 1)``: M times their norm for a head, ``logit_scale`` for every other."""
    if classifier == "head":
        norms: Tensor = features.norm(dim=-1, keepdim=True)
        return logit_scale * norms
    return torch.full_like(features[..., :1], logit_scale)
