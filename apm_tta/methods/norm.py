"""Statistics of the batch in BatchNorm, alone (BN-1) or blended with the source's (alpha-BN); arXiv 2006.16971."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from apm_tta.errors import UserError
from apm_tta.methods.base import Method, Predictions, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.encoder import AdaptableEncoder, fewest_images
from apm_tta.methods.parameter_types import BatchSize, Share
from apm_tta.methods.parameters import Templates


@dataclass(frozen=True)
class NormParameters:
    """Parameters of ``norm``.

    Attributes:
        alpha: weight of the batch's statistics beside the source's running averages; None for the batch's alone (BN-1:
            ``norm`` of TENT's authors). With ``alpha=0.1`` and ``batch_size=1`` it is alpha-BN as its authors' code has
            it (arXiv 2206.00260; ``norm_alpha`` of mariodoebler/test-time-adaptation).
        batch_size: images per batch of the stream; 64, as for the methods that it stands beside.
        channels_last: whether the copy of the network has its channels together in memory: often quicker, and logits
            differ by about 1e-3; False.
        templates: of the class weights.
    """

    alpha: Share | None = None
    batch_size: BatchSize = 64
    channels_last: bool = False
    templates: Templates = "dataset"


@register
class Norm(Method[NormParameters]):
    r"""The teacher's prediction with BatchNorm normalising by the batch's own statistics; nothing is learned.

    .. math:: \mu = (1 - \alpha) \mu_S + \alpha \mu_B, \qquad
        \sigma^2 = (1 - \alpha) \sigma_S^2 + \alpha \sigma_B^2

    S is what training left, B the batch at hand. Without ``alpha`` the variance of the batch is the biased one, as in
    training; blended it is the unbiased one, as in the authors' code: :math:`\alpha = 1` is not BN-1.

    No state remains between batches. It is ``online`` since the order of the stream decides which images are together.
    """

    name = "norm"
    protocol = "online"
    summary = "BatchNorm with the statistics of the batch"
    fast = True
    paper = "arXiv 2006.16971"
    keeps = "nothing between batches"
    remembers = False
    adapts = "the statistics of Batch normalisation"

    def setup(self) -> None:
        chosen = self.parameters
        self.stream_batch = chosen.batch_size
        blended = chosen.alpha is not None
        self.encoder = AdaptableEncoder(
            self.teacher.image_encoder,
            (),
            statistics="source" if blended else "batch",
            prior=1 - chosen.alpha if chosen.alpha is not None else None,
            channels_last=chosen.channels_last,
        )
        self.least_batch = fewest_images(self.teacher)

    def check_teacher(self) -> None:
        if not any(isinstance(module, _BatchNorm) for module in self.teacher.image_encoder.modules()):
            raise UserError(
                f"method norm takes the statistics of Batch normalisation, and the image encoder of teacher "
                f"{self.teacher.name} has none",
                exit_code=2,
            )

    def resolved_parameters(self) -> dict[str, Any]:
        return {"statistics": "of the batch" if self.parameters.alpha is None else "of source and batch"}

    def predict(self, batch: Batch) -> Predictions:
        with torch.no_grad():
            return Predictions(self.logits(self.encoder(self.pixels(batch))))
