"""What policies are worth in the members of an ensemble that no agent was trained in.

Pure functions of what `agents.valuing` played.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.valuing import Played
from recgym import metrics

MATERIAL = 0.01  # of the revenue of empty pages: a lift below it is none to act on
TOO_FAR = 0.1  # of an agent's claim: members differ by some of it without any exploitation


def cross_scored(
    learned: Mapping[str, Played], scored: Mapping[str, Played], agent: str, seed: int
) -> dict[str, Any]:
    """Does an agent's claim hold where it was not trained, and is any lift beyond doubt?

    Args:
        learned: what the policies did in the half of the members that the agent was trained in.
        scored: in the other half, on the same shoppers.
        agent: name of the policy that was trained.
        seed: of the bootstrap.
    """
    claim, apart = _claim(learned, seed, agent), _apart(learned, scored, agent, seed)
    assert claim.mean is not None and apart.mean is not None and apart.low is not None
    member_B, nothing = scored["nothing"].member, scored["nothing"].stats
    assert member_B is not None
    lift = {
        name: metrics.lift_over_members(run.stats, nothing, member_B, seed)
        for name, run in scored.items()
        if name != "nothing"
    }
    best = max(lift, key=lambda name: lift[name].mean or 0.0)
    base, low = metrics.mean(nothing, "revenue_per_session") or 0.0, lift[best].low
    return {
        "claim": claim.as_dict(),
        "apart": apart.as_dict(),
        "alarm": apart.low > 0 and apart.mean > TOO_FAR * abs(claim.mean),
        "lift": {name: estimate.as_dict() for name, estimate in lift.items()},
        "best": best,
        "reliable": low is not None and low > MATERIAL * base,
    }


def _claim(runs: Mapping[str, Played], seed: int, agent: str) -> metrics.Estimate:
    return metrics.incremental_revenue(runs[agent].stats, runs["nothing"].stats, seed)


def _apart(
    learned: Mapping[str, Played], scored: Mapping[str, Played], agent: str, seed: int
) -> metrics.Estimate:
    """Incremental revenue claimed where the agent was trained minus that where it was not."""
    parts = [
        runs[name].stats.credited_revenue
        for runs in (learned, scored)
        for name in (agent, "nothing")
    ]

    def statistic(
        a: NDArray[np.float64],
        b: NDArray[np.float64],
        c: NDArray[np.float64],
        d: NDArray[np.float64],
        count: NDArray[np.float64],
        axis: int = -1,
    ) -> NDArray[np.float64]:
        total = a.sum(axis) - b.sum(axis) - c.sum(axis) + d.sum(axis)
        return np.asarray(total / count.sum(axis))

    return metrics.bootstrapped((*parts, parts[0] * 0 + 1), statistic, seed)
