"""RDumb (arXiv 2306.05401): ETA that starts again after a fixed number of batches."""

from __future__ import annotations

from dataclasses import dataclass

from apm_tta.methods.base import Predictions, register
from apm_tta.methods.batch import Batch
from apm_tta.methods.eta import ETA, ETAParameters
from apm_tta.methods.parameter_types import Steps


@dataclass(frozen=True)
class RDumbParameters(ETAParameters):
    """Parameters of ``rdumb``: those of ``eta``, and one more.

    Attributes:
        margin: see ``eta``; 0.4 (the authors' code).
        redundancy: see ``eta``; 0.05 (the authors' code), for the CIFAR sets 0.4 as there.
        learning_rate: of SGD with momentum 0.9; 2.5e-4 (the authors' code).
        batch_size: images per step; 64 (the authors' code).
        channels_last: see ``eta``; False.
        templates: of the class weights.
        every: batches after which encoder, optimiser and moving average start again; 1000 (section 4 of the paper).
    """

    every: Steps = 1000


@register
class RDumb(ETA[RDumbParameters]):
    """ETA, reset after every so many batches, whether they caused a step or not."""

    name = "rdumb"
    summary = "eta, reset after every 1000 batches"
    fast = True
    paper = "arXiv 2306.05401"
    keeps = "that of eta, for at most 1000 batches"

    def reset(self) -> None:
        super().reset()
        self.batches = 0

    def predict(self, batch: Batch) -> Predictions:
        if self.batches == self.parameters.every:
            self.reset()
        self.batches += 1
        return super().predict(batch)
