"""A second logging policy as a check: what a fit foresees on pages unlike those it was fitted to.

The fit reads sessions of fresh shoppers under another policy and forecasts each step before it. A
shop with a log of its own can do the same with sessions that another policy has filled.
"""

from __future__ import annotations

import numpy as np

from recgym.fidelity.calibration import Forecasts, forecasts
from recgym.fidelity.trace import of_shop
from recgym.logging_policy import LoggingPolicy
from recgym.users.sequence import SequenceModel
from recgym.worlds.base import TrueShop

SHARE = (0.3, 0.1, 0.58, 0.02)  # affinity, popularity, uniform, empty: the log has 0.68, 0.25, 0.05
SHARPNESS = 6.0  # of the affinity softmax: pages of items alike; the log has 2
FIRST_SEED = 1 << 55  # of its shoppers, apart from all others
RESAMPLES = 1000


def second_policy(world: TrueShop, num_slots: int) -> LoggingPolicy:
    """Sharper where it follows the shopper, and more often at random."""
    popularity_I = (0.7 * world.fame).exp()
    return LoggingPolicy(
        world.catalog, popularity_I, num_slots=num_slots, share=SHARE, sharpness=SHARPNESS
    )


def foreseen(
    model: SequenceModel, world: TrueShop, num_slots: int, num_sessions: int
) -> dict[str, dict[str, float]]:
    """By event: how much too often a user model foresees it, with its interval."""
    trace = of_shop(world, second_policy(world, num_slots), num_slots, num_sessions, FIRST_SEED)
    return {
        name: _too_often(found, num_sessions)
        for name, found in forecasts(model, trace).items()
        if found.happened.any()
    }


def _too_often(found: Forecasts, num_sessions: int) -> dict[str, float]:
    """Foreseen ÷ happened - 1, with the 95 % interval of resampled sessions."""
    foreseen_B, happened_B = (
        np.bincount(found.owner, weights=value, minlength=num_sessions)
        for value in (found.chance, found.happened)
    )
    generator = np.random.default_rng(0)
    ratios = []
    for _ in range(RESAMPLES):
        weight_B = generator.multinomial(num_sessions, np.full(num_sessions, 1.0 / num_sessions))
        ratios.append(float(weight_B @ foreseen_B) / max(float(weight_B @ happened_B), 1.0) - 1.0)
    low, high = np.quantile(ratios, [0.025, 0.975]).tolist()
    return {"error": float(foreseen_B.sum() / happened_B.sum() - 1.0), "low": low, "high": high}
