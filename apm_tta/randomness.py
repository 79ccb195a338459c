"""Every random draw for an image comes from a generator seeded by (run seed, sample id, purpose)."""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def seed_for(run_seed: int, sample_id: str, purpose: str) -> int:
    """A seed in 0 .. 2**63 - 1: the first bytes of SHA-256 of the three, the same on every machine."""
    digest = hashlib.sha256(f"{run_seed}\x1f{sample_id}\x1f{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def numpy_generator(run_seed: int, sample_id: str, purpose: str) -> np.random.Generator:
    """A NumPy generator (PCG64) for one draw."""
    return np.random.Generator(np.random.PCG64(seed_for(run_seed, sample_id, purpose)))


def torch_generator(run_seed: int, sample_id: str, purpose: str) -> torch.Generator:
    """A CPU torch generator for one draw: draws are made on the CPU, so that devices agree."""
    return torch.Generator().manual_seed(seed_for(run_seed, sample_id, purpose))
