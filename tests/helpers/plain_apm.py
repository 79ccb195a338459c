"""The plain module with the parameters that the engine starts from."""

from __future__ import annotations

import torch

from apm_tta.apm import APM, APMConfig
from apm_tta.apm.fresh import fresh_parameters


def plain_apm(config: APMConfig, seed: int) -> APM:
    """Return the APM, as its definition is written, that an image of that seed begins with."""
    apm = APM(config)
    fresh = fresh_parameters(config, [seed], torch.empty(0), decode_rgb=True)
    apm.load_state_dict({name: value[0] for name, value in fresh.items()})
    return apm
