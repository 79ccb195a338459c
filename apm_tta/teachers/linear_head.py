"""A linear head expressed as cosines, so that every method sees the head's own logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from apm_tta.errors import UserError


class LinearHead:
    r"""Rows of a linear classifier; see ``Teacher.class_weights`` and ``Teacher.scales``.

    A linear head is not a cosine classifier: its rows have norms, and a bias. With the constants 1 and 0 appended to
    every feature it becomes one exactly: for features f, head W, b and the largest norm M of a row with its bias,

    .. math::
        x = [f, 1, 0], \qquad w_c = \frac{1}{M} \Bigl[ W_c, b_c, \sqrt{M^2 - \lVert W_c \rVert^2 - b_c^2} \Bigr],
        \qquad M \lVert x \rVert \cos(x, w_c) = W_c f + b_c

    Of 250 ImageNet images the cosines with the rows alone would classify 219 correctly, the head 222.

    Args:
        name: name of the teacher.
        head: the last layer of the network.

    Raises:
        UserError: when the head is not linear, not finite, or all zeros but for a bias. Exit code 2.

    Attributes:
        norm: M, by which ``scales`` multiplies the norm of x.
    """

    def __init__(self, name: str, head: nn.Module) -> None:
        if not isinstance(head, nn.Linear):
            raise UserError(
                f"the head of teacher {name} is a {type(head).__name__}, not linear; use --classifier prototypes", 2
            )
        weight = head.weight.detach().float()
        bias = weight.new_zeros(len(weight)) if head.bias is None else head.bias.detach().float()
        self._rows = torch.cat([weight, bias[:, None]], dim=1)
        self.norm = float(self._rows.norm(dim=1).max())
        if not bool(self._rows.isfinite().all()):
            raise UserError(f"the head of teacher {name} is not finite: it is damaged", 2)
        if not bool(weight.any()):
            raise UserError(f"the head of teacher {name} is all zeros: it was never trained", 2)
        self._name = name

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def width(self) -> int:
        """Return F, the number of input features."""
        return self._rows.shape[1] - 1

    def weights(self, rows: Sequence[int] | None = None) -> Tensor:
        """Return unit rows w_c, ``(C, F + 2)``: all, or those of some classes.

        Raises:
            UserError: when one of them is all zeros, so that no image has any influence on it. Exit code 2.
        """
        chosen = list(range(len(self)) if rows is None else rows)
        empty = (~self._rows[chosen, :-1].any(dim=1)).nonzero().flatten().tolist()
        if empty:
            row = chosen[empty[0]]
            raise UserError(f"row {row} in the head of teacher {self._name} is all zeros: it was never trained", 2)
        return self._unit_rows()[chosen]

    def _unit_rows(self) -> Tensor:
        # In double precision: for the longest row, single precision would leave the root of a rounding error.
        rows = self._rows.double()
        squares = rows.square().sum(1)
        slack = (squares.max() - squares).clamp_min(0).sqrt()
        return (torch.cat([rows, slack[:, None]], dim=1) / squares.max().sqrt()).float()

    def logits(self, features: Tensor) -> Tensor:
        """Compute W f + b, ``(B, C)``, for features without constants ``(B, F)``."""
        return features @ self._rows[:, :-1].T + self._rows[:, -1]


def with_constants(features: Tensor) -> Tensor:
    """Append the constants 1 and 0 to features ``(B, F)``, which gives ``(B, F + 2)``."""
    ones = torch.ones_like(features[:, :1])
    return torch.cat([features, ones, torch.zeros_like(ones)], dim=1)


def probe_pixels(size: int, device: torch.device) -> Tensor:
    """Draw two inputs ``(2, 3, size, size)``, always the same, to check a network whose head was removed."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, size, size, generator=generator).to(device)


def same_logits(expected: Tensor, computed: Tensor) -> bool:
    """Return whether two networks' logits ``(B, C)`` are equal up to rounding from a different order of summation."""
    return torch.allclose(expected, computed, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def replace_with_identity(model: nn.Module, path: str) -> None:
    """Replace the module with that dotted name by the identity."""
    parent, _, attribute = path.rpartition(".")
    setattr(model.get_submodule(parent), attribute, nn.Identity())
