"""Random streams that belong to a case, not to the order in which cases happen to be loaded."""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def case_stream(seed: int, case_id: str, purpose: str) -> np.random.Generator:
    """The random stream of one case for one purpose.

    The same (seed, case, purpose) always gives the same numbers, whatever the batch, the worker or the
    order; two purposes (two confounders, say) on one case are independent.

    Args:
        seed: the seed of the run, any integer.
        case_id: identifier of the case.
        purpose: name of the confounder, or "assignment".
    """
    digest = hashlib.sha256(f"{seed}\x1f{case_id}\x1f{purpose}".encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))


def torch_stream(stream: np.random.Generator, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator on ``device``, seeded by the next number of ``stream``."""
    return torch.Generator(device=device).manual_seed(int(stream.integers(2**63 - 1)))
