"""What a forecast is judged by: by series, then averaged, with intervals over origins and series.

- MAE of the median.
- MASE (Hyndman and Koehler 2006, equation 4 with the seasonal naive of their section 3): MAE over
  the mean absolute change from a week before, within the training part of the series. Not defined
  where that is 0.
- sMAPE, in percent: mean of 200 |y - f| / (|y| + |f|), a step at which both are 0 counting 0.
- Pinball loss, mean over the three quantiles.
- Coverage: share of steps inside the interval of 80 %, its ends included.

Closed steps are in none of them. A mean over series weighs them alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recgym.forecast.clock import Bools, Floats, Ints
from recgym.forecast.models.base import QUANTILES

METRICS = ("mae", "mase", "smape", "pinball", "coverage", "width")


@dataclass(frozen=True)
class Scores:
    """Means over the open steps of each series and origin, [S, O]; NaN where none was open."""

    mae: Floats
    mase: Floats  # NaN where it is not defined
    smape: Floats
    pinball: Floats
    coverage: Floats
    width: Floats  # of the interval, in units of the measure


def naive_scale(value_ST: Floats, start_S: Ints, open_T: Bools, season: int) -> Floats:
    """Mean absolute change from a week before, over open steps since each series began, [S]."""
    change_ST = np.abs(value_ST[:, season:] - value_ST[:, :-season])
    since_ST = np.arange(season, value_ST.shape[1]) >= (start_S + season)[:, None]
    counted_ST = since_ST & (open_T[season:] & open_T[:-season])
    number_S = counted_ST.sum(1)
    found: Floats = (change_ST * counted_ST).sum(1) / np.maximum(number_S, 1)
    return np.where((number_S > 0) & (found > 0), found, np.nan)


def score(quantile_SOHQ: Floats, truth_SOH: Floats, open_OH: Bools, scale_S: Floats) -> Scores:
    """Scores of each series and origin."""
    low_SOH, median_SOH, high_SOH = np.moveaxis(quantile_SOHQ, -1, 0)
    error_SOH = np.abs(truth_SOH - median_SOH)
    size_SOH = np.abs(truth_SOH) + np.abs(median_SOH)
    relative_SOH = 200.0 * error_SOH / np.where(size_SOH > 0, size_SOH, 1.0)
    signed_SOHQ = truth_SOH[..., None] - quantile_SOHQ
    quantile_Q = np.array(QUANTILES)
    pinball_SOH = np.maximum(quantile_Q * signed_SOHQ, (quantile_Q - 1) * signed_SOHQ).mean(-1)
    inside_SOH = (low_SOH <= truth_SOH) & (truth_SOH <= high_SOH)
    number_O = open_OH.sum(1)

    def mean(value_SOH: Floats) -> Floats:
        total_SO = (value_SOH * open_OH).sum(-1)
        return np.where(number_O > 0, total_SO / np.maximum(number_O, 1), np.nan)

    mae_SO = mean(error_SOH)
    return Scores(
        mae=mae_SO,
        mase=mae_SO / scale_S[:, None],
        smape=mean(relative_SOH),
        pinball=mean(pinball_SOH),
        coverage=mean(inside_SOH.astype(np.float64)),
        width=mean(high_SOH - low_SOH),
    )


def average(value_SO: Floats) -> float | None:
    """By series, then over series; None where nothing is defined."""
    defined_SO = value_SO[:, ~np.isnan(value_SO).all(0)]
    series_S = defined_SO.mean(1) if defined_SO.size else np.zeros(0)
    series_S = series_S[~np.isnan(series_S)]
    return float(series_S.mean()) if len(series_S) else None


def resampled(value_SO: Floats, draws: tuple[Floats, Floats]) -> Floats:
    """Averages of `average` over series and origins drawn with replacement, [R].

    ``draws`` are how often each series [R, S] and each origin [R, O] is drawn. Both are drawn
    (Owen 2007, "The pigeonhole bootstrap"), since series share their days and origins their series.
    """
    some_S = ~np.isnan(value_SO).all(1)
    some_O = ~np.isnan(value_SO[some_S]).any(0)
    weight_RS, weight_RO = draws[0][:, some_S], draws[1][:, some_O]
    sum_R = np.einsum("rs,so,ro->r", weight_RS, value_SO[some_S][:, some_O], weight_RO)
    number_R = weight_RS.sum(1) * weight_RO.sum(1)
    kept = number_R > 0
    found: Floats = sum_R[kept] / number_R[kept]
    return found


def draw(num_series: int, num_origins: int, *, resamples: int, seed: int) -> tuple[Floats, Floats]:
    """How often each series and each origin is drawn, in each resample."""
    generator = np.random.default_rng(seed)

    def counts(size: int) -> Floats:
        drawn = generator.multinomial(size, np.full(size, 1.0 / size), size=resamples)
        return np.asarray(drawn, dtype=np.float64)

    return counts(num_series), counts(num_origins)


def interval(value_R: Floats) -> list[float] | None:
    """Of 95 %."""
    if not len(value_R):
        return None
    return [float(x) for x in np.quantile(value_R, [0.025, 0.975])]
