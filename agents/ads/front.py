"""The front of ad revenue and the shoppers' satisfaction: which policies no other beats in both.

The area that a run's policies reach (`recgym.ads.metrics.hypervolume`) is counted above the worst
pair: no ad revenue, at the satisfaction under `ad_greedy`, the rule that fills all it may. That
rule is in every run, so that runs in one shop can be compared by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from recgym.ads.metrics import hypervolume, on_front

SATISFACTION, AD_REVENUE = AIMS = "satisfaction", "ad_revenue_per_session"
LABELS = {SATISFACTION: "satisfaction a page", AD_REVENUE: "ad revenue a session"}
WORST = "ad_greedy"
PICTURE = "front.png"  # in a run's folder


def front(point: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    """Of each policy's satisfaction and ad revenue: who is on the front, and what it covers."""
    values = list(point.values())
    worst = point[WORST][0] if WORST in point else min(value for value, _ in values)
    chosen = [name for name, best in zip(point, on_front(values), strict=True) if best]
    return {
        "policies": chosen,
        "worst": {SATISFACTION: worst, AD_REVENUE: 0.0},
        "hypervolume": hypervolume(np.array(values), (worst, 0.0)),
    }


def fronts(policies: Mapping[str, Mapping[str, Any]], shops: list[str]) -> dict[str, Any]:
    """The front in each shop, from the estimates of a run's summary."""
    return {
        shop: front({
            name: (row[shop][SATISFACTION]["mean"], row[shop][AD_REVENUE]["mean"])
            for name, row in policies.items()
        })
        for shop in shops
    }  # fmt: skip
