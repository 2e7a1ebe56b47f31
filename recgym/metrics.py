"""Metrics: pure functions of per-session statistics, with bootstrap intervals.

A metric is a ratio of two sums over sessions. Sessions are independent (each has its own shopper;
where shoppers come back, one row holds all sessions of one), so they are summed in blocks and the
blocks are resampled; policies that met the same shoppers are compared block by block (paired).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from recgym.types import SessionStats

NUM_BLOCKS = 400  # enough for the bootstrap's quantiles, few enough to resample at once
RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; None where it is undefined."""

    mean: float | None
    low: float | None
    high: float | None

    def as_dict(self) -> dict[str, float | None]:
        """For JSON."""
        return asdict(self)


UNDEFINED = Estimate(None, None, None)
Pair = tuple[Tensor, Tensor]


def _ones(stats_B: SessionStats) -> Tensor:
    return stats_B.pages * 0 + 1


def _sessions(stats_B: SessionStats) -> Tensor:
    return _ones(stats_B) if stats_B.sessions is None else stats_B.sessions


def _converted(stats_B: SessionStats) -> Tensor:
    if stats_B.converted is None:
        return (stats_B.orders > 0).to(stats_B.revenue.dtype)
    return stats_B.converted


# name: numerator and denominator, each [B]; the README's table of metrics says the same in words
METRICS: dict[str, Callable[[SessionStats], Pair]] = {
    "conversion_rate": lambda s: (_converted(s), _sessions(s)),
    "revenue_per_shopper": lambda s: (s.credited_revenue, _ones(s)),  # of a row: of an episode
    "revenue_per_session": lambda s: (s.credited_revenue, _sessions(s)),
    "realised_revenue_per_session": lambda s: (s.revenue, _sessions(s)),
    "sessions_per_shopper": lambda s: (_sessions(s), _ones(s)),
    "average_order_value": lambda s: (s.revenue, s.orders),
    "click_through_rate": lambda s: (s.clicks, s.impressions),
    "cart_rate": lambda s: (s.carts, s.views),
    "session_length": lambda s: (s.views, _sessions(s)),
}
REVENUE, INCREMENTAL = OF_SESSIONS = "revenue_per_session", "incremental_revenue_per_session"
OF_SHOPPERS = "revenue_per_shopper", "incremental_revenue_per_shopper"
MONEY = (
    "revenue_per_shopper",
    "revenue_per_session",
    "realised_revenue_per_session",
    "average_order_value",
)


def _blocks(value_B: Tensor) -> NDArray[np.float64]:
    values = value_B.double().cpu().numpy()
    edges = np.linspace(0, len(values), min(NUM_BLOCKS, len(values)) + 1).astype(int)[:-1]
    return np.asarray(np.add.reduceat(values, edges))


def _ratio(
    numerator: NDArray[np.float64], denominator: NDArray[np.float64], axis: int = -1
) -> NDArray[np.float64]:
    return np.asarray(numerator.sum(axis) / denominator.sum(axis))


def _bootstrap(
    blocks: tuple[NDArray[np.float64], ...],
    statistic: Callable[..., NDArray[np.float64]],
    seed: int,
) -> Estimate:
    mean = float(statistic(*blocks, axis=-1))
    if all(np.ptp(block) == 0 for block in blocks):  # nothing varies: the interval is the value
        return Estimate(mean, mean, mean)
    count = len(blocks[0])
    index = np.random.default_rng(seed).integers(count, size=(RESAMPLES, count))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = statistic(*(block[index] for block in blocks), axis=-1)
    found = found[np.isfinite(found)]  # a resample without, say, orders has no value of an order
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(found, [tail, 1.0 - tail])
    return Estimate(mean, float(low), float(high))


def money(num_sessions: int) -> tuple[str, str]:
    """Names of the revenue that policies are ranked by, and of what lies above empty pages.

    Of a session, or, where up to ``num_sessions`` of a shopper are played, of a shopper: who comes
    back is then the policy's doing.
    """
    return OF_SESSIONS if num_sessions == 1 else OF_SHOPPERS


def mean(stats_B: SessionStats, metric: str) -> float | None:
    """A metric of `METRICS` without its interval; None where its denominator is 0."""
    numerator, denominator = (float(x.double().sum()) for x in METRICS[metric](stats_B))
    return numerator / denominator if denominator else None


def estimate(stats_B: SessionStats, metric: str, seed: int = 0) -> Estimate:
    """A metric of `METRICS` with its interval; undefined where its denominator is 0."""
    return ratio(METRICS[metric](stats_B), seed)


def ratio(pair: Pair, seed: int = 0) -> Estimate:
    """A ratio of two sums over sessions, each [B], with its interval."""
    numerator_B, denominator_B = pair
    if float(denominator_B.sum()) == 0:
        return UNDEFINED
    return _bootstrap((_blocks(numerator_B), _blocks(denominator_B)), _ratio, seed)


def difference(
    stats_B: SessionStats, other_B: SessionStats, metric: str, seed: int = 0
) -> Estimate:
    """Metric of the first minus that of the second, over the same shoppers in the same order.

    Raises:
        ValueError: if the shoppers differ.
    """
    if not bool((stats_B.shopper == other_B.shopper).all()):
        raise ValueError("paired differences need the same shoppers in the same order")
    return ratio_difference(METRICS[metric](stats_B), METRICS[metric](other_B), seed)


def ratio_difference(first: Pair, second: Pair, seed: int = 0) -> Estimate:
    """The first ratio minus the second, of the same sessions in the same order."""
    if float(first[1].sum()) == 0 or float(second[1].sum()) == 0:
        return UNDEFINED

    def statistic(
        a: NDArray[np.float64],
        b: NDArray[np.float64],
        c: NDArray[np.float64],
        d: NDArray[np.float64],
        axis: int = -1,
    ) -> NDArray[np.float64]:
        return _ratio(a, b, axis) - _ratio(c, d, axis)

    blocks = tuple(_blocks(part) for part in (*first, *second))
    return _bootstrap(blocks, statistic, seed)


def incremental_revenue(stats_B: SessionStats, nothing_B: SessionStats, seed: int = 0) -> Estimate:
    """Revenue a session above that of empty pages, on the same shoppers."""
    return difference(stats_B, nothing_B, "revenue_per_session", seed)


def bootstrapped(
    parts: tuple[Tensor, ...], statistic: Callable[..., NDArray[np.float64]], seed: int = 0
) -> Estimate:
    """A statistic of sums over sessions with its interval.

    Args:
        parts: per-session values, each [B], of the same sessions in the same order.
        statistic: of one array for each part and ``axis``, the one to sum over.
        seed: of the resampling.
    """
    return _bootstrap(tuple(_blocks(part) for part in parts), statistic, seed)


def lift_over_members(
    stats_B: SessionStats, nothing_B: SessionStats, member_B: Tensor, seed: int = 0
) -> Estimate:
    """Incremental revenue a session, with an interval that holds what members part over.

    Members are resampled first, and then the sessions of each (Davison and Hinkley 1997,
    "Bootstrap methods and their application", section 3.8): more sessions do not narrow what few
    members leave open.

    Args:
        stats_B: of the policy.
        nothing_B: of empty pages, on the same shoppers.
        member_B: the member of an ensemble that answered, [B] int64.
        seed: of the resampling.
    """
    gain_B = stats_B.credited_revenue - nothing_B.credited_revenue
    parts = [_block_means(gain_B[member_B == m]) for m in member_B.unique()]
    generator = np.random.default_rng(seed)
    chosen_RM = generator.integers(len(parts), size=(RESAMPLES, len(parts)))
    found_RM = np.empty(chosen_RM.shape)
    for m, block_J in enumerate(parts):
        mine = chosen_RM == m
        drawn = generator.integers(len(block_J), size=(int(mine.sum()), len(block_J)))
        found_RM[mine] = block_J[drawn].mean(1)
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(found_RM.mean(1), [tail, 1.0 - tail])
    return Estimate(float(np.mean([block.mean() for block in parts])), float(low), float(high))


def _block_means(value_B: Tensor) -> NDArray[np.float64]:
    """Means of blocks of sessions of equal size, about; [J]."""
    parts = np.array_split(value_B.double().cpu().numpy(), min(NUM_BLOCKS, len(value_B)))
    return np.array([part.mean() for part in parts])


def kendall_tau(first: list[float], second: list[float]) -> float | None:
    """Kendall's tau-b of two rankings of the same policies; None where it is undefined."""
    if len(first) < 2:
        return None
    tau = float(stats.kendalltau(first, second, variant="b").statistic)
    return None if np.isnan(tau) else tau
