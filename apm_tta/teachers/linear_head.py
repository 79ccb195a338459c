"""A linear head as cosines, so that every method sees the head's own logits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from apm_tta.errors import UserError


class LinearHead:
    r"""Rows of a linear classifier; see ``Teacher.class_weights`` and ``Teacher.scales``.

    A linear head is no cosine: its rows have norms, and a bias. With the constants 1 and 0 behind every feature it
    becomes one, and nothing is lost: for features f, head W, b and the largest norm M of a row with its bias,

    .. math::
        x = [f, 1, 0], \qquad w_c = \frac{1}{M} \Bigl[ W_c, b_c, \sqrt{M^2 - \lVert W_c \rVert^2 - b_c^2} \Bigr],
        \qquad M \lVert x \rVert \cos(x, w_c) = W_c f + b_c

    On 250 ImageNet images the cosines with the rows alone would get 219 right where the head gets 222.

    Args:
        name: the teacher's.
        model: timm's, with its head.

    Raises:
        UserError: when the head is not linear. Exit code 2.

    Attributes:
        norm: M, what ``scales`` multiplies the norm of x by.
    """

    def __init__(self, name: str, model: Any) -> None:
        head = model.get_classifier()
        if not isinstance(head, nn.Linear):
            raise UserError(
                f"the head of teacher {name} is a {type(head).__name__}, not linear; use --classifier prototypes", 2
            )
        weight = head.weight.detach().float()
        bias = weight.new_zeros(len(weight)) if head.bias is None else head.bias.detach().float()
        self._rows = torch.cat([weight, bias[:, None]], dim=1)
        self.norm = float(self._rows.norm(dim=1).max())

    def __len__(self) -> int:
        return len(self._rows)

    def weights(self) -> Tensor:
        """Return unit rows, ``(C, F + 2)``."""
        # In double precision: for the longest row the root of a difference of equals would show single's rounding.
        rows = self._rows.double()
        squares = rows.square().sum(1)
        slack = (squares.max() - squares).clamp_min(0).sqrt()
        return (torch.cat([rows, slack[:, None]], dim=1) / squares.max().sqrt()).float()

    def logits(self, features: Tensor) -> Tensor:
        """Compute W f + b of features without constants ``(B, F)``: ``(B, C)``."""
        return features @ self._rows[:, :-1].T + self._rows[:, -1]


def with_constants(features: Tensor) -> Tensor:
    """Put the constants 1 and 0 behind features ``(B, F)``: ``(B, F + 2)``."""
    ones = torch.ones_like(features[:, :1])
    return torch.cat([features, ones, torch.zeros_like(ones)], dim=1)
