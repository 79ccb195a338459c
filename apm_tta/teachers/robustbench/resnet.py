"""Residual networks of 18 layers for images of 32 x 32 pixels, under the names of several families of checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, relu

from apm_tta.teachers.robustbench.pre_activation import Normalisation, Normalising, convolution, pre_activated

_BLOCKS = 2
_POOLED = 4


def _stages(kind: type[nn.Module], widths: Sequence[int], **settings: object) -> list[nn.Sequential]:
    """Make four stages of two blocks; all but the first halve the maps.

    Args:
        kind: of a block; takes the widths before and after it, and its stride.
        widths: before the first stage, and after each.
        settings: further arguments of every block.
    """
    return [
        nn.Sequential(
            *(
                kind(outputs if later else inputs, outputs, 1 if later or not number else 2, **settings)
                for later in range(_BLOCKS)
            )
        )
        for number, (inputs, outputs) in enumerate(pairwise(widths))
    ]


class ResNet18(Normalising):
    """A residual network (arXiv 1512.03385).

    Args:
        classes: C.
        width: of the first stage.
        normalisation: see ``Normalising``.
        shortcut: name of a block's shortcut, ``shortcut`` or ``downsample``.
        head: name of the last layer, ``linear`` or ``fc``.
    """

    def __init__(self, classes: int, width: int, normalisation: Normalisation, shortcut: str, head: str) -> None:
        super().__init__(normalisation)
        widths = [width, *(width * 2**stage for stage in range(4))]
        self.conv1, self.bn1 = convolution(3, width, 3), nn.BatchNorm2d(width)
        self.layer1, self.layer2, self.layer3, self.layer4 = _stages(_Block, widths, shortcut=shortcut)
        self._head = head
        setattr(self, head, nn.Linear(widths[-1], classes))

    def forward(self, pixels: Tensor) -> Tensor:
        """Classify images ``(B, 3, 32, 32)`` with values in 0 .. 1: ``(B, C)``."""
        values = relu(self.bn1(self.conv1(self.normalise(pixels))))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            values = stage(values)
        logits: Tensor = self.get_submodule(self._head)(avg_pool2d(values, _POOLED).flatten(1))
        return logits


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: str) -> None:
        super().__init__()
        self.conv1, self.bn1 = convolution(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = convolution(outputs, outputs, 3), nn.BatchNorm2d(outputs)
        self._shortcut = "" if inputs == outputs else shortcut
        if self._shortcut:
            own = nn.Sequential(convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
            setattr(self, shortcut, own)

    def forward(self, values: Tensor) -> Tensor:
        inner: Tensor = self.bn2(self.conv2(relu(self.bn1(self.conv1(values)))))
        kept: Tensor = self.get_submodule(self._shortcut)(values) if self._shortcut else values
        return relu(inner + kept)


class PreActResNet18(Normalising):
    """A residual network with activation before convolution (arXiv 1603.05027), and a norm before its head.

    Args:
        classes: C.
        normalisation: see ``Normalising``.
    """

    def __init__(self, classes: int, normalisation: Normalisation | None = None) -> None:
        super().__init__(normalisation)
        self.conv1 = convolution(3, 64, 3)
        self.layer1, self.layer2, self.layer3, self.layer4 = _stages(_PreActBlock, (64, 64, 128, 256, 512))
        self.bn = nn.BatchNorm2d(512)
        self.linear = nn.Linear(512, classes)

    def forward(self, pixels: Tensor) -> Tensor:
        """Classify images ``(B, 3, 32, 32)`` with values in 0 .. 1: ``(B, C)``."""
        values = self.conv1(self.normalise(pixels))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            values = stage(values)
        logits: Tensor = self.linear(avg_pool2d(relu(self.bn(values)), _POOLED).flatten(1))
        return logits


class _PreActBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1, self.conv2 = convolution(inputs, outputs, 3, stride), convolution(outputs, outputs, 3)
        changes = stride != 1 or inputs != outputs
        self.shortcut = nn.Sequential(convolution(inputs, outputs, 1, stride)) if changes else None

    def forward(self, values: Tensor) -> Tensor:
        return pre_activated(values, (self.bn1, self.bn2), (self.conv1, self.conv2), self.shortcut)


class BinaryResNet18(Normalising):
    """A wide pre-activation network whose norms have no scale or shift, as lottery tickets with binary weights have it.

    Its shortcuts take what is activated even where nothing changes (arXiv 2106.09129).

    Args:
        classes: C.
        normalisation: see ``Normalising``.
    """

    def __init__(self, classes: int, normalisation: Normalisation) -> None:
        super().__init__(normalisation)
        widths = (64, 64, 192, 384, 768)
        self.conv1 = convolution(3, 64, 3)
        self.layer1, self.layer2, self.layer3, self.layer4 = _stages(_BinaryBlock, widths)
        self.bn1 = nn.BatchNorm2d(widths[-1], affine=False)
        self.fc = convolution(widths[-1], classes, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Classify images ``(B, 3, 32, 32)`` with values in 0 .. 1: ``(B, C)``."""
        values = self.conv1(self.normalise(pixels))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            values = stage(values)
        logits: Tensor = self.fc(avg_pool2d(relu(self.bn1(values)), _POOLED)).flatten(1)
        return logits


class _BinaryBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(inputs, affine=False), nn.BatchNorm2d(outputs, affine=False)
        self.conv1, self.conv2 = convolution(inputs, outputs, 3, stride), convolution(outputs, outputs, 3)
        changes = stride != 1 or inputs != outputs
        parts = [convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs, affine=False)] if changes else []
        self.shortcut = nn.Sequential(*parts)

    def forward(self, values: Tensor) -> Tensor:
        return pre_activated(values, (self.bn1, self.bn2), (self.conv1, self.conv2), self.shortcut)
