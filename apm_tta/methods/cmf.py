"""CMF (ICLR 2024, OpenReview BllUWdpIOA): ROID whose parameters are kept near a filtered model, not the teacher."""

from __future__ import annotations

from dataclasses import dataclass

from apm_tta.methods.base import register
from apm_tta.methods.moving_average import move_towards
from apm_tta.methods.parameter_types import Fraction, Weight
from apm_tta.methods.roid import ROID, ROIDParameters

_PARAMETERS_OF_RESNET_50 = 38400
_LEAST_BETA, _NO_BETA = 0.89, 0.9999


@dataclass(frozen=True)
class CMFParameters(ROIDParameters):
    """Parameters of ``cmf``: those of ``roid``, and three more; all from the authors' ``conf.py``.

    Attributes:
        source_momentum: alpha: share of the hidden model before every step, the teacher has the rest; 0.99.
        diversity_momentum: see ``roid``; 0.9.
        temperature: see ``roid``; 1/3.
        consistency: see ``roid``; True.
        prior_correction: see ``roid``; True.
        optimizer: see ``roid``.
        learning_rate: see ``roid``; 2.5e-4, and 1e-3 for the CIFAR sets.
        batch_size: see ``roid``; 64, and 200 for the CIFAR sets.
        channels_last: see ``roid``; False.
        templates: of the class weights.
        hidden_momentum: gamma: share of the adapted parameters after every step, the hidden model has the rest; 0.99.
        variance: q, of the hidden model's steps for 38,400 moved parameters, in proportion to their number; 0.005.
    """

    hidden_momentum: Fraction = 0.99
    variance: Weight = 0.005


@register
class CMF(ROID[CMFParameters]):
    r"""ROID kept near a hidden model, which follows the adapted one by a Kalman filter and falls back to the teacher.

    .. math:: \phi^- = \alpha \phi + (1 - \alpha) \theta^0, \quad v^- = \alpha^2 v + q, \quad
        \beta = \frac{1 - q}{v^- + 1 - q}, \qquad
        \phi = \beta \phi^- + (1 - \beta) \theta, \quad v = \beta v^-, \quad
        \theta \leftarrow \gamma \theta + (1 - \gamma) \phi

    As in the authors' code, :math:`\beta` is at least 0.89, and 1 above 0.9999. Here the filter's variance is forgotten
    by a reset too, which theirs leaves.
    """

    name = "cmf"
    summary = "roid, kept near a filtered model in place of the teacher"
    fast = True
    paper = "OpenReview BllUWdpIOA"
    keeps = "that of roid, a second copy of scales and shifts, and a variance"

    def reset(self) -> None:
        super().reset()
        count = sum(parameter.numel() for parameter in self.encoder.parameters)
        self.hidden = [source.clone() for source in self.encoder.source]
        self.hidden_variance = 0.0
        self.noise = self.parameters.variance * count / _PARAMETERS_OF_RESNET_50

    def _keep_near(self) -> None:
        alpha, gamma, rest = self.parameters.source_momentum, self.parameters.hidden_momentum, 1 - self.noise
        self.hidden_variance = alpha**2 * self.hidden_variance + self.noise
        beta = max(rest / (self.hidden_variance + rest), _LEAST_BETA)
        beta = beta if beta < _NO_BETA else 1.0
        self.hidden_variance *= beta
        move_towards(self.hidden, self.encoder.source, alpha)
        move_towards(self.hidden, self.encoder.parameters, beta)
        move_towards(self.encoder.parameters, self.hidden, gamma)
