"""Random draws for an image, each from a generator seeded by (run seed, sample id, purpose)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # each is imported by its first draw: options are declared, and completed, without either
    import numpy as np
    import torch


def seed_for(run_seed: int, sample_id: str, purpose: str) -> int:
    """Return a seed in 0 .. 2**63 - 1 from the first bytes of the SHA-256 of the three, the same on every machine."""
    digest = hashlib.sha256(f"{run_seed}\x1f{sample_id}\x1f{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def numpy_generator(run_seed: int, sample_id: str, purpose: str) -> np.random.Generator:
    """Return a NumPy generator (PCG64) for one draw."""
    import numpy as np

    return np.random.Generator(np.random.PCG64(seed_for(run_seed, sample_id, purpose)))


def torch_generator(run_seed: int, sample_id: str, purpose: str) -> torch.Generator:
    """Return a torch generator on the CPU for one draw; draws are made on the CPU, so that devices agree."""
    import torch

    return torch.Generator().manual_seed(seed_for(run_seed, sample_id, purpose))
