"""The statistics that are counted: each a pure function of a simulated and a real vector of sums.

``error(simulated_HJ, real_HJ) -> [H]`` works on any number of halves at once. A relative error and
a difference keep their sign; a distance has none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from recgym.fidelity import counts
from recgym.fidelity.counts import Counting
from recgym.fidelity.frame import NUM_DECILES
from recgym.fidelity.trace import Bools, Floats

LEAST = 30  # events that a segment's real side must hold before its rate is compared
SMOOTHING = 0.5  # sessions added to each count of a pair

Error = Callable[[Floats, Floats], Floats]
Figure = Callable[[Floats], Floats]


# ---- of two vectors -----------------------------------------------------------------------------


def share(sums_HJ: Floats) -> Floats:
    """Each column's share of the whole."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(sums_HJ / sums_HJ.sum(-1, keepdims=True))


def kolmogorov(simulated_HJ: Floats, real_HJ: Floats) -> Floats:
    """Largest distance of the two cumulative distributions (Kolmogorov-Smirnov), [H]."""
    apart_HJ = share(simulated_HJ).cumsum(-1) - share(real_HJ).cumsum(-1)
    return np.asarray(np.abs(apart_HJ).max(-1))


def total_variation(simulated_HJ: Floats, real_HJ: Floats) -> Floats:
    """Half the sum of distances of the shares, [H]."""
    return np.asarray(np.abs(share(simulated_HJ) - share(real_HJ)).sum(-1) / 2)


def relative(figure: Figure) -> Error:
    """Simulated over real figure, minus 1."""

    def error(simulated_HJ: Floats, real_HJ: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(figure(simulated_HJ) / figure(real_HJ) - 1.0)

    return error


def difference(figure: Figure) -> Error:
    """Simulated minus real figure."""

    def error(simulated_HJ: Floats, real_HJ: Floats) -> Floats:
        return np.asarray(figure(simulated_HJ) - figure(real_HJ))

    return error


def worst_segment(simulated_HJ: Floats, real_HJ: Floats) -> Floats:
    """Largest relative error of the segments' rates, of those with `LEAST` real events, [H].

    Columns are numerator and denominator of each segment in turn.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        theirs = real_HJ[..., ::2] / real_HJ[..., 1::2]
        ours = simulated_HJ[..., ::2] / simulated_HJ[..., 1::2]
        error = np.abs(ours / theirs - 1.0)
    return _worst(error, real_HJ[..., ::2] >= LEAST)


def worst_decile(simulated_HJ: Floats, real_HJ: Floats) -> Floats:
    """Largest relative error of revenue a session over the tenths of the price, [H]."""
    with np.errstate(divide="ignore", invalid="ignore"):
        theirs = real_HJ[..., :NUM_DECILES] / real_HJ[..., NUM_DECILES:]
        ours = simulated_HJ[..., :NUM_DECILES] / simulated_HJ[..., NUM_DECILES:]
        error = np.abs(ours / theirs - 1.0)
    return _worst(error, theirs > 0)


def _worst(error: Floats, known: Bools) -> Floats:
    found = np.where(known, error, -np.inf).max(-1)
    return np.asarray(np.where(np.isfinite(found), found, np.nan))


def spearman(first_HJ: Floats, second_HJ: Floats) -> Floats:
    """Spearman's rank correlation, [H]; NaN where one side is constant."""
    rank, other = (rankdata(x, axis=-1) for x in (first_HJ, second_HJ))
    rank = rank - rank.mean(-1, keepdims=True)
    other = other - other.mean(-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.sqrt((rank**2).sum(-1) * (other**2).sum(-1))
        return np.asarray((rank * other).sum(-1) / size)


def co_occurrence(simulated_HJ: Floats, real_HJ: Floats) -> Floats:
    """Spearman of the pairs' pointwise mutual information, [H]."""
    return spearman(mutual_information(simulated_HJ), mutual_information(real_HJ))


# ---- of one vector ------------------------------------------------------------------------------


def ratio(sums_HJ: Floats) -> Floats:
    """First column over second."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(sums_HJ[..., 0] / sums_HJ[..., 1])


def mean(sums_HJ: Floats) -> Floats:
    """Mean of the column number."""
    return np.asarray(share(sums_HJ) @ np.arange(sums_HJ.shape[-1]))


def percentile_95(sums_HJ: Floats) -> Floats:
    """95th percentile of the column number, each number spread evenly from -1/2 to +1/2 around it.

    The plain percentile of whole numbers would jump by several percent.
    """
    cdf_HJ = share(sums_HJ).cumsum(-1)
    at_H1 = (cdf_HJ < 0.95).sum(-1, keepdims=True).clip(max=sums_HJ.shape[-1] - 1)
    reached_H = np.take_along_axis(cdf_HJ, at_H1, -1)[..., 0]
    below_H = np.where(
        at_H1[..., 0] > 0, np.take_along_axis(cdf_HJ, np.maximum(at_H1 - 1, 0), -1)[..., 0], 0.0
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(at_H1[..., 0] - 0.5 + (0.95 - below_H) / (reached_H - below_H))


def gini(sums_HJ: Floats) -> Floats:
    """Gini coefficient of the columns: 0 if all are equal, near 1 if one holds everything."""
    sorted_HJ, size = np.sort(sums_HJ, -1), sums_HJ.shape[-1]
    place_J = np.arange(1, size + 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        weighted_H = (sorted_HJ * place_J).sum(-1) / sorted_HJ.sum(-1)
        return np.asarray((2.0 * weighted_H - size - 1.0) / size)


def covered(sums_HJ: Floats) -> Floats:
    """Share of the columns that hold anything."""
    return np.asarray((sums_HJ > 0).mean(-1))


def mutual_information(sums_HJ: Floats) -> Floats:
    """Log of P(both) / (P(first) P(second)) of each pair, nats (Church and Hanks 1990)."""
    size = (sums_HJ.shape[-1] - 1) // 3
    both, first, second = (
        sums_HJ[..., place * size : (place + 1) * size] + SMOOTHING for place in range(3)
    )
    return np.asarray(np.log(both) - np.log(first) - np.log(second) + np.log(sums_HJ[..., -1:]))


# ---- the rows -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Statistic:
    """A row of the scorecard that is made of counts."""

    name: str
    title: str
    count: Counting
    error: Error
    on_log: float  # target where only a log is known
    on_truth: float  # target against fresh sessions of a true shop
    form: str = "percent"  # or number
    higher: bool = False  # the value must not fall below its target
    figure: Figure | None = None  # what is shown of each side
    figure_form: str = "number"
    needs: str = ""  # prices or impressions


def _relative(
    name: str,
    title: str,
    count: Counting,
    figure: Figure,
    targets: tuple[float, float],
    **more: str,
) -> Statistic:
    shown = {"figure_form": "percent", **more}
    return Statistic(name, title, count, relative(figure), *targets, figure=figure, **shown)  # type: ignore[arg-type]


def _number(
    name: str, title: str, count: Counting, error: Error, on_log: float, on_truth: float
) -> Statistic:
    return Statistic(name, title, count, error, on_log, on_truth, form="number")


FUNNEL = (
    ("view_to_cart", "view to cart", counts.carts),
    ("cart_to_purchase", "cart to purchase", counts.carts_paid),
    ("conversion", "conversion", counts.conversions),
)

STATISTICS: tuple[Statistic, ...] = (
    _number("session_length_ks", "session length, KS", counts.lengths, kolmogorov, 0.03, 0.02),
    _relative("session_length_mean", "session length, mean (views)", counts.lengths, mean,
              (0.02, 0.02), figure_form="number"),
    _relative("session_length_p95", "session length, 95th percentile", counts.lengths,
              percentile_95, (0.05, 0.05), figure_form="number"),
    _number("gap_ks", "time between events, KS of log seconds", counts.gaps, kolmogorov,
            0.05, 0.03),
    _number("event_mix", "event mix, total variation", counts.events, total_variation,
            0.01, 0.005),
    _number("transitions", "type-to-type transitions, total variation", counts.transitions,
            total_variation, 0.03, 0.02),
    *(_relative(name, title, count, ratio, (0.03, 0.02)) for name, title, count in FUNNEL),
    *(
        Statistic(f"{name}_segments", f"{title}, worst of 10 segments", counts.in_segments(count),
                  worst_segment, 0.10, 0.05)
        for name, title, count in FUNNEL
    ),
    _relative("revenue_per_session", "revenue a session", counts.revenue, ratio, (0.05, 0.03),
              figure_form="number", needs="prices"),
    _relative("average_order_value", "average order value", counts.basket_value, ratio,
              (0.05, 0.03), figure_form="number", needs="prices"),
    Statistic("revenue_by_decile", "revenue by price decile, worst", counts.revenue_by_decile,
              worst_decile, 0.10, 0.05, needs="prices"),
    Statistic("repeat_views", "repeat views, difference", counts.repeats, difference(ratio),
              0.01, 0.005, figure=ratio, figure_form="percent"),
    _number("return_lag_ks", "lag until return to an item, KS", counts.returns, kolmogorov,
            0.05, 0.03),
    Statistic("popularity_spearman", "popularity, Spearman", counts.known_item_views, spearman,
              0.95, 0.97, form="number", higher=True),
    Statistic("popularity_gini", "popularity, Gini", counts.item_views, difference(gini),
              0.02, 0.01, form="number", figure=gini),
    _relative("coverage", "coverage: items viewed at least once", counts.item_views, covered,
              (0.03, 0.03)),
    Statistic("co_occurrence", "co-occurrence: PMI of the commonest pairs, Spearman",
              counts.pairs, co_occurrence, 0.80, 0.90, form="number", higher=True),
)  # fmt: skip

# those of the rows above that belong to single pages, for the drift between early and late ones
DRIFTING = ("gap_ks", "event_mix", "transitions", "view_to_cart", "repeat_views")
EARLY, LATE = (1, 9), (10, 20)  # pages of a session, counted from 1
