"""Values of many policies on the same shoppers, in blocks of sessions that intervals resample."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from recgym import progress
from recgym.files import beside
from recgym.rollout import rollout
from recgym.spaces import ObservationSpec
from recgym.types import Policy

Floats = NDArray[np.float64]
SEED_BASE = 1 << 56  # of these shoppers, apart from those of logs, training and evaluation
NUM_BLOCKS = 200


Play = tuple[ObservationSpec, Policy]  # what a policy sees, and itself


@dataclass(frozen=True)
class Values:
    """Mean revenue a session of each policy in each block, currency units."""

    names: list[str]  # P policies
    block_PJ: Floats

    def mean(self) -> dict[str, float]:
        """Of each policy."""
        return dict(zip(self.names, self.block_PJ.mean(1).tolist(), strict=True))

    def error(self) -> dict[str, float]:
        """Of each policy, the standard error of its mean over sessions."""
        error_P = self.block_PJ.std(1, ddof=1) / self.block_PJ.shape[1] ** 0.5
        return dict(zip(self.names, error_P.tolist(), strict=True))

    @classmethod
    def joined(cls, parts: Iterable[Values]) -> Values:
        """Of all the parts' policies, over the same blocks."""
        each = list(parts)
        names = [name for part in each for name in part.names]
        return cls(names, np.vstack([part.block_PJ for part in each]))

    def save(self, path: Path) -> None:
        """As .npz, written beside and renamed."""
        with beside(path) as place:
            np.savez_compressed(place, names=np.array(self.names), block=self.block_PJ)

    @classmethod
    def load(cls, path: Path) -> Values:
        """What `save` wrote."""
        with np.load(path) as stored:
            return cls([str(name) for name in stored["names"]], stored["block"])


def values_of(policies: dict[str, Play], num_sessions: int, seed: int) -> Values:
    """Play each policy over its own observations, all on the same shoppers."""
    seed_B = SEED_BASE + (seed << 32) + torch.arange(num_sessions)
    edges = np.linspace(0, num_sessions, NUM_BLOCKS + 1).astype(int)
    rows = []
    for spec, policy in policies.values():
        stats = rollout(spec, policy, seed_B, torch.zeros_like(seed_B), progress=progress.advance)
        revenue_B = stats.credited_revenue.double().cpu().numpy()
        rows.append(np.add.reduceat(revenue_B, edges[:-1]) / np.diff(edges))
    return Values(list(policies), np.stack(rows))
