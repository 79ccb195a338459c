"""A linear head as cosines, so that every method sees the head's own logits."""

from __future__ import annotations

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
        head: the last layer of the network.

    Raises:
        UserError: when the head is not linear, or all zeros. Exit code 2.

    Attributes:
        norm: M, what ``scales`` multiplies the norm of x by.
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
        if not self.norm:
            raise UserError(f"the head of teacher {name} is all zeros: it was never trained", 2)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def width(self) -> int:
        """Return how many values it takes, F."""
        return self._rows.shape[1] - 1

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


def probe_pixels(size: int, device: torch.device) -> Tensor:
    """Draw two inputs ``(2, 3, size, size)``, always the same, to check a network whose head was taken off."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, size, size, generator=generator).to(device)


def same_logits(expected: Tensor, found: Tensor) -> bool:
    """Return whether two networks' logits ``(B, C)`` are equal up to the rounding of another order of sums."""
    return torch.allclose(expected, found, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def replace_with_identity(model: nn.Module, path: str) -> None:
    """Replace the module of that dotted name by one that passes its input on."""
    parent, _, attribute = path.rpartition(".")
    setattr(model.get_submodule(parent), attribute, nn.Identity())
