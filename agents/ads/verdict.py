"""What the runs of ad policies say: values, differences, and how far the learned shop is right.

Pure functions of what `agents.ads.valuing` played.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from agents.ads.valuing import FIXED, NOTHING
from recgym import metrics
from recgym.ads import metrics as ads
from recgym.ads.records import PARTS
from recgym.ads.stats import AdStats

AD_REVENUE, EARNED, NET = "ad_revenue_per_session", "earned_per_shopper", "net_ad_revenue"
VALUES = (*ads.AD_METRICS, EARNED, NET, "iroas")  # of a policy in a shop, beside what campaigns got
RETURNS = ("return_1_day", "return_7_day")
COMPARED = (
    AD_REVENUE, "ad_revenue_per_shopper", "revenue_per_session", "conversion_rate", "ad_load",
    "leave_rate", *RETURNS,
)  # fmt: skip

Runs = Mapping[str, AdStats]


def summarise(
    played: Mapping[str, Runs], agent: str, weights: Mapping[str, float], seed: int
) -> dict[str, Any]:
    """Values, paired differences and what they say of the learned shop; undefined is None.

    Args:
        played: shop, then policy, then what it did.
        agent: name of the policy that was trained.
        weights: of the reward's parts, and the platform's share of sales.
        seed: of the bootstrap.
    """
    shops = {shop: _values(runs, weights, seed) for shop, runs in played.items()}
    names = list(played["learned"])
    summary: dict[str, Any] = {
        "policies": {
            name: {shop: shops.get(shop, {}).get(name) for shop in ("learned", "true")}
            for name in names
        },
        "differences": {shop: _differences(runs, weights, seed) for shop, runs in played.items()},
    }
    return summary | _verdict(shops, agent)


def earned(stats: AdStats, weights: Mapping[str, float]) -> metrics.Pair:
    """What the reward counts, of one shopper: numerator and denominator."""
    weight_W = [float(weights.get(part, 0.0)) for part in PARTS]
    weight_W[PARTS.index("excess_load")] = 0.0  # a constraint's price is nothing that is earned
    value_B = stats.parts.double() @ torch.tensor(weight_W, dtype=torch.float64).to(
        stats.parts.device
    )
    return value_B, torch.ones_like(value_B)


def _values(runs: Runs, weights: Mapping[str, float], seed: int) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for name, stats in runs.items():
        row = {m: ads.estimate(stats, m, seed).as_dict() for m in ads.AD_METRICS}
        row[EARNED] = metrics.ratio(earned(stats, weights), seed).as_dict()
        row[NET] = ads.incremental_ad_revenue(
            stats, runs[NOTHING], weights["take_rate"], seed
        ).as_dict()
        row["iroas"] = ads.iroas(stats, runs[NOTHING], seed).as_dict()
        plain = {**ads.advertising(stats), "ads_per_session_95": ads.ads_per_session(stats)}
        row |= {m: metrics.Estimate(value, None, None).as_dict() for m, value in plain.items()}
        rows[name] = row
    return rows


def _differences(runs: Runs, weights: Mapping[str, float], seed: int) -> dict[str, Any]:
    """Of each policy from ads in fixed slots, on the same shoppers."""
    fixed = runs[FIXED]
    return {
        name: {
            **{m: ads.difference(stats, fixed, m, seed).as_dict() for m in COMPARED},
            EARNED: metrics.ratio_difference(
                earned(stats, weights), earned(fixed, weights), seed
            ).as_dict(),
        }
        for name, stats in runs.items()
        if name != FIXED
    }


def _verdict(shops: Mapping[str, Any], agent: str) -> dict[str, float | None]:
    """Does the learned shop rank as the truth does, and does it overstate?"""
    if "true" not in shops:
        return dict.fromkeys(("kendall_tau", "exploitation_gap", "regret"))

    def mean(shop: str, name: str, metric: str) -> float:
        return float(shops[shop][name][metric]["mean"])

    names = list(shops["learned"])
    claimed = [mean("learned", name, EARNED) for name in names]
    truth = [mean("true", name, EARNED) for name in names]
    pick, true = truth[claimed.index(max(claimed))], mean("true", agent, AD_REVENUE)
    return {
        "kendall_tau": metrics.kendall_tau(claimed, truth),
        "exploitation_gap": mean("learned", agent, AD_REVENUE) / true - 1.0 if true > 0 else None,
        "regret": (max(truth) - pick) / max(truth) if max(truth) > 0 else None,
    }
