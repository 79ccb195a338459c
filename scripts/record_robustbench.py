"""Record what RobustBench's own networks answer with drawn weights, for ``tests/teachers/test_robustbench.py``.

Run ``python scripts/record_robustbench.py robustbench-1.1.1-py3-none-any.whl``; ``pip download robustbench==1.1.1
--no-deps`` gets the wheel. Only its files of architectures and of the zoo are executed, with stand-ins for what other
entries import: the package itself pins an old timm.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import torch
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "helpers"))

from drawn_weights import drawn_images, drawn_state, state_digest  # noqa: E402

TARGET = ROOT / "tests" / "teachers" / "robustbench_answers.json"
ANSWERED = {
    "cifar10": [
        *("Standard", "Hendrycks2020AugMix_WRN", "Hendrycks2020AugMix_ResNeXt", "Kireev2021Effectiveness_RLAT"),
        *("Diffenderfer2021Winning_LRR", "Diffenderfer2021Winning_Binary", "Modas2021PRIMEResNet18"),
    ],
    "cifar100": ["Hendrycks2020AugMix_WRN", "Diffenderfer2021Winning_Binary", "Addepalli2021Towards_PARN18"],
}
"""Entries whose logits are recorded: one of every architecture and normalisation; of all others the names of tensors.

In place of those of 70 layers and 16 times the width there is one of 16 layers and twice the width.
"""


SMOOTH = {"cifar10": 10, "cifar100": 100}
NOT_NEEDED = ("autoattack", "geotorch", "torchdiffeq", "gdown")
"""What other entries of the zoo import."""


def import_zoo(wheel: str, data: str) -> ModuleType:
    """Import the zoo of one data set without running the package's own ``__init__``, which needs its dependencies."""
    for name in ("robustbench", "robustbench.model_zoo"):
        bare = ModuleType(name)
        bare.__path__ = [f"{wheel}/{name.replace('.', '/')}"]
        sys.modules.setdefault(name, bare)
    for name in NOT_NEEDED:
        sys.modules.setdefault(name, MagicMock())
    sys.path_importer_cache.clear()
    return importlib.import_module(f"robustbench.model_zoo.{data}")


def answers(network: nn.Module) -> list[list[float]]:
    """Return the logits of two images, with drawn weights."""
    network.load_state_dict(drawn_state(network))
    with torch.no_grad():
        return network.eval()(drawn_images()).tolist()


def record(wheel: str) -> dict[str, Any]:
    """Record, by data set and entry, which tensors a network has, and of some what it answers."""
    found: dict[str, Any] = {}
    for data, names in ANSWERED.items():
        zoo = import_zoo(wheel, data)
        smooth = zoo.DMWideResNet(
            SMOOTH[data], 16, 2, zoo.Swish, getattr(zoo, f"{data.upper()}_MEAN"), getattr(zoo, f"{data.upper()}_STD")
        )
        found[data] = {"16 layers, SiLU": {"tensors": state_digest(smooth), "logits": answers(smooth)}}
        for name, entry in zoo.common_corruptions.items():
            if isinstance(entry["gdrive_id"], list):  # six networks, whose probabilities are averaged
                continue
            with torch.device("cpu" if name in names else "meta"):
                network = entry["model"]()
            own = found[data][name] = {"tensors": state_digest(network)}
            if name in names:
                own["logits"] = answers(network)
    return found


if __name__ == "__main__":
    TARGET.write_text(json.dumps(record(sys.argv[1]), indent=1) + "\n", encoding="utf-8")
