"""The entries of RobustBench's zoo for the threat model ``corruptions`` that are one network of one file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from torch import nn

from apm_tta.teachers.robustbench.resnet import BinaryResNet18, PreActResNet18, ResNet18
from apm_tta.teachers.robustbench.resnext import ResNeXt29
from apm_tta.teachers.robustbench.wide_resnet import SmoothWideResNet, WideResNet

CARD_DECKS = ("Diffenderfer2021Winning_LRR_CARD_Deck", "Diffenderfer2021Winning_Binary_CARD_Deck")
"""Six networks of six files each, whose probabilities are averaged: they have no logits."""

_HALVES = ((0.5,), (0.5,))
# CIFAR-10's and CIFAR-100's, in the digits that the authors of each entry wrote.
_CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616))
_CIFAR10_SHORT = ((0.491, 0.482, 0.447), (0.247, 0.243, 0.262))
_CIFAR100 = ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))


@dataclass(frozen=True)
class Entry:
    """One network of the zoo.

    Attributes:
        make: returns it with initial weights.
        member: which of several sets of weights in its file are its; empty where there is one.
        left_out: endings of names in its file that are no part of the network.
        states_normalisation: whether the mean and deviation of its input are those in its file.
    """

    make: Callable[[], nn.Module]
    member: str = ""
    left_out: tuple[str, ...] = ()
    states_normalisation: bool = False


def _shared(classes: int) -> dict[str, Entry]:
    """Return the entries that both data sets have."""
    diffenderfer = _CIFAR10_SHORT if classes == 10 else _CIFAR100
    prime = partial(ResNet18, classes, 64, _HALVES, "shortcut", "linear")
    return {
        "Hendrycks2020AugMix_WRN": Entry(partial(WideResNet, classes, 40, 2, _HALVES)),
        "Hendrycks2020AugMix_ResNeXt": Entry(partial(ResNeXt29, classes, _HALVES)),
        "Diffenderfer2021Winning_LRR": Entry(partial(ResNet18, classes, 128, diffenderfer, "downsample", "fc")),
        # Scores of the search for a ticket, which its weights have been through.
        "Diffenderfer2021Winning_Binary": Entry(partial(BinaryResNet18, classes, diffenderfer), left_out=(".scores",)),
        "Modas2021PRIMEResNet18": Entry(prime, states_normalisation=True),
        "Addepalli2021Towards_WRN34": Entry(partial(WideResNet, classes, 34, 10, idle_group=True)),
        "Addepalli2022Efficient_WRN_34_10": Entry(partial(WideResNet, classes, 34, 10)),
    }


_KIREEV = ("Gauss50percent", "AugMixNoJSD", "RLAT", "RLATAugMixNoJSD", "RLATAugMix")
_KIREEVS = Entry(partial(PreActResNet18, 10, _CIFAR10), member="last")

ZOO: Mapping[str, Mapping[str, Entry]] = {
    "cifar10": {
        "Standard": Entry(partial(WideResNet, 10, 28, 10)),
        **_shared(10),
        **{f"Kireev2021Effectiveness_{name}": _KIREEVS for name in _KIREEV},
        **{
            f"Rebuffi2021Fixing_70_16_cutmix_extra_{norm}": Entry(partial(SmoothWideResNet, 10, 70, 16, _CIFAR10))
            for norm in ("Linf", "L2")
        },
    },
    "cifar100": {
        **_shared(100),
        "Addepalli2021Towards_PARN18": Entry(partial(PreActResNet18, 100)),
        **{
            f"Gowal2020Uncovering_{name}": Entry(partial(SmoothWideResNet, 100, 70, 16, _CIFAR100))
            for name in ("Linf", "extra_Linf")
        },
    },
}
"""Entries by data set and by RobustBench's name."""
