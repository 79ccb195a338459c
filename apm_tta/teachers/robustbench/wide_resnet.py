"""Wide residual networks (arXiv 1605.07146), under the names of two families of checkpoints."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pad, relu, silu

from apm_tta.teachers.robustbench.pre_activation import Normalisation, Normalising, convolution, pre_activated

_STRIDES = (1, 2, 2)
_FIRST = 16
_POOLED = 8


def _widths(depth: int, factor: int) -> tuple[int, list[int]]:
    """Return the number of blocks in every group, and the widths around the groups."""
    return (depth - 4) // 6, [_FIRST, *(_FIRST * factor * 2**group for group in range(3))]


class WideResNet(Normalising):
    """A wide residual network as in the code of TRADES, from which most checkpoints of RobustBench descend.

    Args:
        classes: C.
        depth: number of layers, 6 n + 4.
        factor: of the widths.
        normalisation: see ``Normalising``.
        idle_group: whether the checkpoint has a copy of the first group that computes nothing.
    """

    def __init__(
        self,
        classes: int,
        depth: int,
        factor: int,
        normalisation: Normalisation | None = None,
        idle_group: bool = False,
    ) -> None:
        super().__init__(normalisation)
        count, widths = _widths(depth, factor)
        self.conv1 = convolution(3, _FIRST, 3)
        self.block1, self.block2, self.block3 = (
            _Group(count, inputs, outputs, stride)
            for inputs, outputs, stride in zip(widths, widths[1:], _STRIDES, strict=False)
        )
        if idle_group:
            self.sub_block1 = _Group(count, widths[0], widths[1], 1)
        self.bn1 = nn.BatchNorm2d(widths[-1])
        self.fc = nn.Linear(widths[-1], classes)

    def forward(self, pixels: Tensor) -> Tensor:
        """Classify images ``(B, 3, 32, 32)`` with values in 0 .. 1: ``(B, C)``."""
        values = self.conv1(self.normalise(pixels))
        for group in (self.block1, self.block2, self.block3):
            values = group(values)
        logits: Tensor = self.fc(avg_pool2d(relu(self.bn1(values)), _POOLED).flatten(1))
        return logits


class _Group(nn.Module):
    def __init__(self, count: int, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        blocks = [_Block(outputs if later else inputs, outputs, 1 if later else stride) for later in range(count)]
        self.layer = nn.Sequential(*blocks)

    def forward(self, values: Tensor) -> Tensor:
        result: Tensor = self.layer(values)
        return result


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1, self.conv2 = convolution(inputs, outputs, 3, stride), convolution(outputs, outputs, 3)
        self.convShortcut = None if inputs == outputs else convolution(inputs, outputs, 1, stride)

    def forward(self, values: Tensor) -> Tensor:
        return pre_activated(values, (self.bn1, self.bn2), (self.conv1, self.conv2), self.convShortcut)


class SmoothWideResNet(Normalising):
    """A wide residual network with SiLU in place of ReLU, as DeepMind's (arXiv 2010.03593).

    Args:
        classes: C.
        depth: number of layers, 6 n + 4.
        factor: of the widths.
        normalisation: mean and standard deviation per channel; no part of checkpoints.
    """

    def __init__(self, classes: int, depth: int, factor: int, normalisation: Normalisation) -> None:
        super().__init__(normalisation, persistent=False)
        count, widths = _widths(depth, factor)
        self.init_conv = convolution(3, _FIRST, 3)
        self.layer = nn.Sequential(
            *(
                _SmoothGroup(count, inputs, outputs, stride)
                for inputs, outputs, stride in zip(widths, widths[1:], _STRIDES, strict=False)
            )
        )
        self.batchnorm = nn.BatchNorm2d(widths[-1])
        self.logits = nn.Linear(widths[-1], classes)

    def forward(self, pixels: Tensor) -> Tensor:
        """Classify images ``(B, 3, 32, 32)`` with values in 0 .. 1: ``(B, C)``."""
        values = self.layer(self.init_conv(self.normalise(pixels)))
        logits: Tensor = self.logits(avg_pool2d(silu(self.batchnorm(values)), _POOLED).flatten(1))
        return logits


class _SmoothGroup(nn.Module):
    def __init__(self, count: int, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        blocks = [_SmoothBlock(outputs if later else inputs, outputs, 1 if later else stride) for later in range(count)]
        self.block = nn.Sequential(*blocks)

    def forward(self, values: Tensor) -> Tensor:
        result: Tensor = self.block(values)
        return result


class _SmoothBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.batchnorm_0, self.batchnorm_1 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv_0 = _PaddedConvolution(inputs, outputs, stride)
        self.conv_1 = convolution(outputs, outputs, 3)
        self.shortcut = None if inputs == outputs else convolution(inputs, outputs, 1, stride)

    def forward(self, values: Tensor) -> Tensor:
        norms, convolutions = (self.batchnorm_0, self.batchnorm_1), (self.conv_0, self.conv_1)
        return pre_activated(values, norms, convolutions, self.shortcut, silu)


class _PaddedConvolution(nn.Conv2d):
    """A convolution padded as TensorFlow's ``SAME``: with a stride of 2, right and below alone."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(inputs, outputs, 3, stride, bias=False)
        self._padding = (1, 1, 1, 1) if stride == 1 else (0, 1, 0, 1)

    def forward(self, values: Tensor) -> Tensor:
        return super().forward(pad(values, self._padding))
