"""ResNeXt of 29 layers for images of 32 x 32 pixels (arXiv 1611.05431), as AugMix's authors have it."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, relu

from apm_tta.teachers.robustbench.pre_activation import Normalisation, Normalising, convolution

_BLOCKS, _GROUPS, _WIDTH = 3, 4, 32
_EXPANSION = 4


class ResNeXt29(Normalising):
    """A network of 29 layers with 4 groups of 32 channels.

    Args:
        classes: C.
        normalisation: see ``Normalising``.
    """

    def __init__(self, classes: int, normalisation: Normalisation) -> None:
        super().__init__(normalisation)
        self.conv_1_3x3, self.bn_1 = convolution(3, 64, 3), nn.BatchNorm2d(64)
        self.stage_1, self.stage_2, self.stage_3 = (
            _stage(inputs, planes, stride) for inputs, planes, stride in ((64, 64, 1), (256, 128, 2), (512, 256, 2))
        )
        self.classifier = nn.Linear(256 * _EXPANSION, classes)

    def forward(self, pixels: Tensor) -> Tensor:
        """Classify images ``(B, 3, 32, 32)`` with values in 0 .. 1: ``(B, C)``."""
        values = relu(self.bn_1(self.conv_1_3x3(self.normalise(pixels))))
        for stage in (self.stage_1, self.stage_2, self.stage_3):
            values = stage(values)
        logits: Tensor = self.classifier(avg_pool2d(values, 8).flatten(1))
        return logits


def _stage(inputs: int, planes: int, stride: int) -> nn.Sequential:
    outputs = planes * _EXPANSION
    return nn.Sequential(_Block(inputs, planes, stride), *(_Block(outputs, planes, 1) for _ in range(_BLOCKS - 1)))


class _Block(nn.Module):
    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        inner, outputs = planes * _WIDTH // 64 * _GROUPS, planes * _EXPANSION
        self.conv_reduce, self.bn_reduce = convolution(inputs, inner, 1), nn.BatchNorm2d(inner)
        self.conv_conv, self.bn = convolution(inner, inner, 3, stride, _GROUPS), nn.BatchNorm2d(inner)
        self.conv_expand, self.bn_expand = convolution(inner, outputs, 1), nn.BatchNorm2d(outputs)
        self.downsample = (
            None
            if inputs == outputs
            else nn.Sequential(convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
        )

    def forward(self, values: Tensor) -> Tensor:
        inner = relu(self.bn_reduce(self.conv_reduce(values)))
        inner = self.bn_expand(self.conv_expand(relu(self.bn(self.conv_conv(inner)))))
        kept = values if self.downsample is None else self.downsample(values)
        return relu(kept + inner)
