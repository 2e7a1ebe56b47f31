"""Intervals of known coverage: split-conformal calibration of quantiles on the validation block.

Conformalized quantile regression (Romano, Patterson and Candès 2019, equations 6 and 7): the score
of a forecast is how far the truth lies outside its interval, E = max(low - y, y - high), negative
inside; the interval is widened by the ceil((n + 1) 0.8)-th smallest of the n scores. For a model
with one forecast for all quantiles this is the split-conformal interval of its absolute errors (Lei
et al. 2018). Deviations: scores are divided by the level of the window before the origin (Lei et
al., section 5.2, with that level for the spread), so that a series that grows keeps its coverage;
scores are those of the series itself where there are `LEAST`, else of all series of the panel; and
as steps follow each other in time, scores are not exchangeable: the guarantee of 80 % is only as
good as the validation block is like the time after it, so coverage is measured.
"""

from __future__ import annotations

import math

import numpy as np

from recgym.forecast.clock import Bools, Floats
from recgym.forecast.models.base import QUANTILES

LEAST = 20  # scores of a series
COVERED = QUANTILES[-1] - QUANTILES[0]


def scores(quantile_SOHQ: Floats, truth_SOH: Floats, level_SO: Floats) -> Floats:
    """How far each truth lies outside its interval, in levels, [S, O, H]."""
    low_SOH, high_SOH = quantile_SOHQ[..., 0], quantile_SOHQ[..., -1]
    outside_SOH = np.maximum(low_SOH - truth_SOH, truth_SOH - high_SOH)
    found: Floats = outside_SOH / level_SO[..., None]
    return found


def widening(score_SOH: Floats, open_OH: Bools) -> Floats:
    """What each series' intervals are widened by on either side, in levels, [S]."""
    known_SN = score_SOH[:, open_OH]
    if known_SN.shape[1] < LEAST:
        return np.full(len(score_SOH), rank(known_SN.ravel()))
    return np.array([rank(known_N) for known_N in known_SN])


def rank(score_N: Floats) -> float:
    """The ceil((n + 1) 0.8)-th smallest score, the largest where there are too few."""
    number = len(score_N)
    place = math.ceil(round((number + 1) * COVERED, 9))
    return float(np.sort(score_N)[min(place, number) - 1])


def widened(quantile_SOHQ: Floats, by_SO: Floats, level_SO: Floats) -> Floats:
    """Quantiles, the outer ones moved by so many levels; none passes the median or goes below 0."""
    move_SO1 = (by_SO * level_SO)[..., None]
    low_SOH, median_SOH, high_SOH = np.moveaxis(quantile_SOHQ, -1, 0)
    moved = [
        np.minimum(low_SOH - move_SO1, median_SOH),
        median_SOH,
        np.maximum(high_SOH + move_SO1, median_SOH),
    ]
    found: Floats = np.maximum(np.stack(moved, -1), 0.0)
    return found
