"""EATA (arXiv 2204.02610): ETA with a penalty for moving what the source images need."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from apm_tta.errors import UserError
from apm_tta.methods.base import Cost, register
from apm_tta.methods.data_defaults import by_family
from apm_tta.methods.encoder import AdaptableEncoder
from apm_tta.methods.eta import ETA, ETAParameters
from apm_tta.methods.parameter_types import Entries, Weight
from apm_tta.randomness import torch_generator
from apm_tta.teachers.base import Support


@dataclass(frozen=True)
class EATAParameters(ETAParameters):
    """Parameters of ``eata``: those of ``eta``, and two more.

    Attributes:
        margin: see ``eta``; 0.4 (section 4 of the paper).
        redundancy: see ``eta``; 0.05, and 0.4 for the CIFAR sets (section 4).
        learning_rate: of SGD with momentum 0.9; 2.5e-4 (section 4, ImageNet).
        batch_size: images per step, of the test set and of the source; 64 (section 4).
        channels_last: see ``eta``; False.
        templates: of the class weights.
        penalty: beta of equation 8; 2000, and 1 for the CIFAR sets (section 4).
        source_images: how many of ``--support`` are taken, drawn by the run's seed; at most 2000 (section 4). The
            authors take them from ImageNet's validation set, whose corrupted versions they test; here no tested image
            is among them.
    """

    penalty: Weight = by_family(2000.0, {"cifar": 1.0})  # noqa: RUF009  immutable
    source_images: Entries = 2000


@register
class EATA(ETA[EATAParameters]):
    r"""ETA with a penalty for moving those parameters on which the predictions of source images depend.

    .. math:: \mathcal{L} = \operatorname*{mean}_{i \in S} e^{E_0 - E_i} E_i
        + \beta \sum_k \omega_k (\theta_k - \theta_k^0)^2, \qquad
        \omega_k = \operatorname*{mean}_b \Bigl( \frac{\partial}{\partial \theta_k^0}
        \operatorname*{mean}_{i \in b} \bigl( -\log p_{i, \hat y_i} \bigr) \Bigr)^2

    b are batches of source images, and :math:`\hat y_i` is what the teacher itself predicts for image i: no label is
    used. As in the authors' code, the gradient of a batch's mean is squared (the paper has that of each image), and a
    batch of which nothing passes is not penalised either.
    """

    name = "eata"
    summary = "eta with a penalty for forgetting source images (needs --support)"
    fast = True
    keeps = "that of eta; beside it one importance per scale and shift, made once"
    knows = "images of the kind that the teacher was trained on"

    def setup(self) -> None:
        super().setup()
        source = require_source(self.teacher.support)
        generator = torch_generator(self.seed, self.name, "source images")
        chosen = self.parameters
        order = torch.randperm(len(source.labels), generator=generator)[: chosen.source_images].tolist()
        parts = [order[start : start + chosen.batch_size] for start in range(0, len(order), chosen.batch_size)]
        batches = (
            torch.stack([source.pixels(index) for index in part]).to(self.teacher.device)
            for part in parts
            if len(part) >= self.least_batch
        )
        self.importances = importances(self.encoder, self.logits, batches)

    def check_teacher(self) -> None:
        super().check_teacher()
        require_source(self.teacher.support)

    def cost(self) -> Cost:
        return Cost(image_forwards=1, image_backwards=1, other="once, two passes of every source image")

    def _loss(self, filtered: Tensor) -> Tensor:
        moved = zip(self.importances, self.encoder.parameters, self.encoder.source, strict=True)
        penalty = torch.stack([(weight * (now - start) ** 2).sum() for weight, now, start in moved]).sum()
        total: Tensor = filtered + self.parameters.penalty * penalty
        return total


def importances(
    encoder: AdaptableEncoder, logits: Callable[[Tensor], Tensor], batches: Iterable[Tensor]
) -> list[Tensor]:
    """Compute the importance of every parameter for the predictions of source images, in the shape of the parameter.

    Args:
        encoder: with the teacher's own parameters, which stay as they are.
        logits: computes logits ``(B, C)`` of features ``(B, F)``.
        batches: teacher's inputs, ``(B, 3, S, S)`` each.
    """
    sums = [torch.zeros_like(parameter) for parameter in encoder.parameters]
    count = 0
    for pixels in batches:
        with torch.enable_grad():
            answers = logits(encoder(pixels))
            loss = cross_entropy(answers, answers.detach().argmax(-1))
            gradients = torch.autograd.grad(loss, encoder.parameters, allow_unused=True)
        for total, gradient in zip(sums, gradients, strict=True):
            if gradient is not None:
                total += gradient**2
        count += 1
    return [total / max(count, 1) for total in sums]


def require_source(support: Support | None) -> Support:
    """Return the source images.

    Raises:
        UserError: when there are none. Exit code 2.
    """
    if support is None:
        raise UserError(
            "method eata needs images of the kind that the teacher was trained on: give --support FOLDER, with one "
            "folder per class; its labels are not used",
            exit_code=2,
        )
    return support
