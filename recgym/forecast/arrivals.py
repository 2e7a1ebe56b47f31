"""Shoppers who arrive as a forecast expects: what drives a simulation over several days.

A forecast gives expected sessions a step; shoppers are then a Poisson process of that rate, alike
within a step: their number is Poisson, and given it each begins on its own, at a time drawn in
proportion to the rate. So a session's start stays a function of (seed, session) alone, policies
still meet the same shoppers, and the number of lanes changes nothing.

    shop = Arriving(shop, *expected_sessions("outputs/forecast/RUN"))
    seed_B = torch.arange(num_shoppers(shop.expected, seed=0))
    rollout(spec, policy, seed_B, torch.zeros_like(seed_B))  # spec of a Simulator(shop, ...)
"""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recgym import rng
from recgym.errors import UserError
from recgym.forecast.clock import STEP_MS
from recgym.rng import Purpose
from recgym.types import Arrival
from recgym.users.base import Shoppers


class Arriving:
    """Another shop's shoppers, at other times; all else is the shop's own.

    Args:
        inner: true shop or user model.
        expected: sessions of each step, [T], none of them negative and some above 0.
        start_ms: of the first step, UTC.
        step_ms: of each step.
    """

    def __init__(
        self, inner: Shoppers, expected: Sequence[float], start_ms: int, step_ms: int
    ) -> None:
        self.inner, self.start_ms, self.step_ms = inner, start_ms, step_ms
        self.expected = torch.as_tensor(expected, dtype=torch.float64)
        if not bool((self.expected >= 0).all() & (self.expected.sum() > 0)):
            raise UserError("expected sessions: none may be negative, and some must be above 0.")

    def __getattr__(self, name: str) -> Any:
        # only what is not found here; guarded, since copying looks before __init__ has run
        if name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    def arrive(self, seed_N: Tensor, session_N: Tensor) -> Arrival:
        """Whoever would come to the shop, at a time drawn by (seed, session)."""
        arrival = self.inner.arrive(seed_N, session_N)
        key_N = rng.mix(rng.key(seed_N, session_N, 0, Purpose.START) + 2)
        u_N2 = rng.uniform(key_N, 2, torch.float64)
        weight_NT = self.expected.to(seed_N.device).expand(len(seed_N), -1)
        step_N = rng.pick(weight_NT, u_N2[:, 0])
        start_N = self.start_ms + step_N * self.step_ms + (u_N2[:, 1] * self.step_ms).long()
        return dataclasses.replace(arrival, start_ms=start_N)


def num_shoppers(expected: Tensor, seed: int) -> int:
    """How many sessions begin over all steps: Poisson."""
    return int(np.random.default_rng(seed).poisson(float(expected.sum())))


def expected_sessions(folder: str | Path) -> tuple[list[float], int, int]:
    """Expected sessions of the whole shop after the log, start and length of the steps in ms.

    The median stands for the mean: sessions of a whole shop are counts of many, and nearly
    symmetric.
    """
    described = Path(folder) / "forecast.json"
    if not described.exists():
        raise UserError(
            f"{folder} holds no forecast.json: expected the folder of a finished "
            "python -m recgym.forecast."
        )
    step = json.loads(described.read_text(encoding="utf-8"))["settings"]["step"]
    with (Path(folder) / "next.csv").open(encoding="utf-8", newline="") as stream:
        rows = [
            row
            for row in csv.DictReader(stream)
            if (row["measure"], row["level"]) == ("sessions", "shop")
        ]
    if not rows:
        raise UserError(
            f"{folder} has no forecast of the sessions of the shop: run python -m recgym.forecast "
            "with sessions among the measures and shop among the levels."
        )
    start_ms = int(np.datetime64(rows[0]["time"], "ms").astype(np.int64))
    return [float(row["q50"]) for row in rows], start_ms, STEP_MS[step]
