"""Metrics of pages with ads: for the platform, its shoppers and its advertisers.

Those of the platform and of shoppers are ratios of sums over episodes, with the intervals of
`recgym.metrics`; an episode is a shopper's, and has several sessions where shoppers come back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recgym import metrics
from recgym.ads.records import MICROS, PARTS
from recgym.ads.stats import SLOT_SUMS, AdStats
from recgym.metrics import Estimate, Pair

SATISFACTION = PARTS.index("satisfaction")


def _ones(stats: AdStats) -> Tensor:
    return torch.ones_like(stats.pages)


# name: numerator and denominator, each [B]
AD_METRICS: dict[str, Callable[[AdStats], Pair]] = {
    "ad_revenue_per_session": lambda s: (s.ad_revenue(), s.sessions),
    "ad_revenue_per_shopper": lambda s: (s.ad_revenue(), _ones(s)),
    "rpm": lambda s: (1000.0 * s.ad_revenue(), s.impressions),  # of all impressions
    "revenue_per_session": lambda s: (s.revenue, s.sessions),  # sales, whoever is paid for them
    "revenue_per_shopper": lambda s: (s.revenue, _ones(s)),
    "sponsored_sales_per_session": lambda s: (s.sponsored_sales, s.sessions),
    "conversion_rate": lambda s: (s.converted, s.sessions),
    "click_through_rate": lambda s: (s.clicks, s.impressions),
    "ad_click_through_rate": lambda s: (s.ad_clicks, s.ads),
    "ad_load": lambda s: (s.ads, s.impressions),
    "fill_rate": lambda s: (s.ads, s.wanted),
    "leave_rate": lambda s: (s.left, s.pages),
    "pages_per_session": lambda s: (s.pages, s.sessions),
    "sessions_per_shopper": lambda s: (s.sessions, _ones(s)),
    "return_1_day": lambda s: (s.back_1, s.chances),
    "return_7_day": lambda s: (s.back_7, s.chances),
    "satisfaction": lambda s: (s.parts[:, SATISFACTION], s.pages),  # a page; 0 without ads
}


def estimate(stats: AdStats, metric: str, seed: int = 0) -> Estimate:
    """A metric of `AD_METRICS` with its interval; undefined where its denominator is 0."""
    return metrics.ratio(AD_METRICS[metric](stats), seed)


def difference(stats: AdStats, other: AdStats, metric: str, seed: int = 0) -> Estimate:
    """Metric of the first minus that of the second, over the same shoppers in the same order.

    Raises:
        ValueError: if the shoppers differ.
    """
    _same(stats, other)
    return metrics.ratio_difference(AD_METRICS[metric](stats), AD_METRICS[metric](other), seed)


def incremental_ad_revenue(
    stats: AdStats, without: AdStats, take_rate: float, seed: int = 0
) -> Estimate:
    """What ads bring a shopper's episode, net of the platform's take of sales that they displace.

    Args:
        stats: of the policy.
        without: of pages without ads, for the same shoppers.
        take_rate: the platform's share of sales.
        seed: of the interval.
    """
    _same(stats, without)
    gain_B = stats.ad_revenue() + take_rate * (stats.revenue - without.revenue).double()
    return metrics.ratio((gain_B, torch.ones_like(gain_B)), seed)


def iroas(stats: AdStats, without: AdStats, seed: int = 0) -> Estimate:
    """Sales that would not have been made without ads, for each unit that campaigns paid."""
    _same(stats, without)
    return metrics.ratio((stats.revenue - without.revenue, stats.ad_revenue()), seed)


def by_slot(stats: AdStats, what: str, of: str, seed: int = 0) -> list[Estimate]:
    """Ratio of two of `SLOT_SUMS` in each slot: `clicked` of `shown` is click-through by slot."""
    top, bottom = SLOT_SUMS.index(what), SLOT_SUMS.index(of)
    return [
        metrics.ratio((stats.slots[:, top, k], stats.slots[:, bottom, k]), seed)
        for k in range(stats.slots.shape[-1])
    ]


def ads_per_session(stats: AdStats, share: float = 0.95) -> int | None:
    """Ads that at least this share of sessions do not exceed; None without sessions."""
    upto_L = stats.campaigns.session_ads.cumsum(0)
    total = int(upto_L[-1])
    # counted down, so that 0.95 of 20 sessions is 19 of them
    return int((upto_L < total - int((1.0 - share) * total + 1e-9)).sum()) if total else None


def advertising(stats: AdStats) -> dict[str, float | None]:
    """What campaigns got for their money, all together.

    ``win_rate``: pages on which a campaign stood, of those on which it was a candidate.
    ``budget_use``: of the budgets of all shoppers' days. ``pacing_error``: mean difference between
    the share of a day's budget that is spent and the share of the day that is over.
    ``gini_of_impressions``: 0 where all campaigns are shown equally often, near 1 where one is.
    """
    sums = stats.campaigns
    spend = float(sums.spend.sum()) / MICROS
    return {
        "spend": spend,
        "budget_use": _over(spend, float(sums.budget.sum()) / MICROS),
        "pacing_error": _over(float(sums.off_pace.sum()), float(sums.running.sum())),
        "cost_per_click": _over(spend, float(sums.clicks.sum())),
        "cost_per_order": _over(spend, float(sums.orders.sum())),
        "roas": _over(float(sums.sales.sum()), spend),
        "win_rate": _over(float(sums.impressions.sum()), float(sums.entered.sum())),
        "gini_of_impressions": gini(sums.impressions),
    }


def gini(count_A: Tensor) -> float | None:
    """Gini coefficient of counts; None where all are 0.

    Half the mean absolute difference of any two, by their mean: with ranks i of the sorted counts
    c, sum of (2 i - A - 1) c_i, by A · sum of c.
    """
    sorted_A = count_A.double().sort().values
    total, count = float(sorted_A.sum()), len(sorted_A)
    rank_A = torch.arange(1, count + 1, dtype=torch.float64, device=sorted_A.device)
    return _over(float(((2.0 * rank_A - count - 1.0) * sorted_A).sum()), count * total)


def hypervolume(point_P2: NDArray[np.float64], worst: tuple[float, float]) -> float:
    """Area that policies' pairs of values dominate, both to be large, above the worst pair.

    Zitzler and Thiele 1999, "Multiobjective evolutionary algorithms", section 2.2.
    """
    area, reached = 0.0, worst[1]
    for first, second in sorted(map(tuple, point_P2.tolist()), reverse=True):
        if first > worst[0] and second > reached:
            area += (first - worst[0]) * (second - reached)
            reached = second
    return area


def on_front(points: Sequence[tuple[float, ...]]) -> list[bool]:
    """Whether each point, the larger the better, is one that no other dominates."""
    value_PD = np.array(points)
    at_least_PP = (value_PD[:, None] >= value_PD[None]).all(-1)
    above_PP = (value_PD[:, None] > value_PD[None]).any(-1)
    beaten_P = np.asarray((at_least_PP & above_PP).any(0))
    return [not x for x in beaten_P.tolist()]


def _same(stats: AdStats, other: AdStats) -> None:
    if not bool((stats.shopper == other.shopper).all()):
        raise ValueError("paired differences need the same shoppers in the same order")


def _over(numerator: float, denominator: float) -> float | None:
    return numerator / denominator if denominator else None
