"""Scores of many runs in many shops, and what can be said of them: pure functions.

Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice":
interquartile means over all runs of all tasks (section 4.3), performance profiles (section 4.2,
equation 1), probability of improvement (section 4.3) and percentile intervals of a bootstrap that
is stratified by task (section 4.1). A task is a shop, a run a seed. ``Scores`` holds one array of
runs a shop; shops may have unequally many.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from recgym.metrics import CONFIDENCE, RESAMPLES, Estimate

Floats = NDArray[np.float64]
Scores = Mapping[str, Floats]  # by shop, one number a run
CUT = 0.25  # of the runs at either end, which an interquartile mean leaves out


def normalised(value: float, random: float, oracle: float) -> float:
    """0 of random items, 1 of the best that a site could do; all on the same shoppers."""
    return (value - random) / (oracle - random)


def iqm(*runs: Any, axis: int = -1) -> Any:
    """Mean of the middle half of all runs of all shops (a trimmed mean that cuts whole runs)."""
    return stats.trim_mean(np.concatenate(runs, axis=axis), CUT, axis=axis)


def improvement(*runs: Any, axis: int = -1) -> Any:
    """P(X > Y) + P(X = Y) / 2 of a run of each, mean over shops.

    The first half of ``runs`` are those of X, a shop each, the other half those of Y.
    """
    half = len(runs) // 2
    of_shop = []
    for x, y in zip(runs[:half], runs[half:], strict=True):
        apart = np.sign(
            np.moveaxis(x, axis, -1)[..., :, None] - np.moveaxis(y, axis, -1)[..., None, :]
        )
        of_shop.append((0.5 + 0.5 * apart).mean((-2, -1)))
    return np.mean(of_shop, axis=0)


def profile(scores: Scores, thresholds: Floats) -> Floats:
    """Share of runs that score above each threshold, mean over shops."""
    above = [(runs[:, None] > thresholds[None, :]).mean(0) for runs in scores.values()]
    return np.asarray(np.mean(above, axis=0), dtype=np.float64)


def interquartile(scores: Scores, seed: int = 0) -> Estimate:
    """The interquartile mean with its interval."""
    return bootstrapped(tuple(scores.values()), iqm, seed)


def better(scores: Scores, other: Scores, seed: int = 0) -> Estimate:
    """Probability of improvement on ``other`` with its interval, over the shops that both have."""
    shops = [shop for shop in scores if shop in other]
    if not shops:
        return Estimate(None, None, None)
    runs = [of[shop] for of in (scores, other) for shop in shops]
    return bootstrapped(tuple(runs), improvement, seed)


def bootstrapped(
    strata: tuple[Floats, ...], statistic: Callable[..., Any], seed: int = 0
) -> Estimate:
    """The statistic with its percentile interval, each stratum resampled within itself.

    A stratum of one run says nothing about its spread: then there is no interval.
    """
    mean = float(statistic(*strata, axis=-1))
    if min(len(runs) for runs in strata) < 2:
        return Estimate(mean, None, None)
    found = stats.bootstrap(
        strata,
        statistic,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        vectorized=True,
        axis=-1,
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return Estimate(mean, float(found.low), float(found.high))
