"""A teacher of the sample package: the mean colour of the image, read by three rows."""

import torch
from torch import Tensor, nn

from apm_tta import Preprocessing
from apm_tta.teachers.base import Source
from apm_tta.teachers.classifier_teacher import Classified, classifier_source
from apm_tta.teachers.head_labels import HeadLabels
from apm_tta.teachers.measured_preprocessing import evaluation_transform

COLOURS = ("red", "green", "blue")


class MeanColour(nn.Module):
    """The mean of every channel, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(torch.eye(3))

    def forward(self, pixels: Tensor) -> Tensor:
        """Classify images ``(B, 3, S, S)``: ``(B, 3)``."""
        logits: Tensor = self.head(pixels.mean((2, 3)))
        return logits


def sample_source(name: str, classifier: str) -> Source:
    """Find ``sample-colours``."""
    preprocessing = Preprocessing(8, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bilinear")
    identity = {"weights_sha256": "0" * 64, "architecture": "mean colour"}
    labels = HeadLabels.of(3, COLOURS, None)
    transform = evaluation_transform(preprocessing)
    return classifier_source(name, classifier, Classified(identity, labels, preprocessing, transform, MeanColour))
