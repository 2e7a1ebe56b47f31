"""What every model of sales and traffic fulfils."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from recgym.forecast.clock import Bools, Floats, Ints, Past

QUANTILES = (0.1, 0.5, 0.9)  # the median is the forecast, the outer two an interval of 80 %
SMALL = 1e-9


class Forecaster(Protocol):
    """Learns from one past, then forecasts from later ones of the same series."""

    def fit(self, past: Past) -> None:
        """Learn; nothing at or after the origin of ``past`` is known."""
        ...

    def predict(self, past: Past) -> Floats:
        """Quantiles of the next steps, [S, H, Q] for `QUANTILES`.

        A model without a law of its errors gives its forecast for each of them: the interval is
        then what the calibration makes of it.
        """
        ...


def alike(point_SH: Floats) -> Floats:
    """The same forecast for every quantile, [S, H, Q]."""
    return np.repeat(point_SH[..., None], len(QUANTILES), -1)


def levels(value_ST: Floats, usual_T: Bools) -> Floats:
    """Mean of each series over its steps of usual hours, [S]; never 0, so that it can divide."""
    mean_S = value_ST[:, usual_T].mean(1) if usual_T.any() else np.zeros(len(value_ST))
    return np.asarray(np.maximum(mean_S, SMALL))


def origins(past: Past, most: int, seed: int) -> tuple[Ints, Ints]:
    """Series and origin of every training window; a random ``most`` of them where there are more.

    A window begins no earlier than its series, and its horizon ends before the origin of ``past``.
    """
    end = past.value.shape[1] - past.horizon
    row, origin = [], []
    for s, start in enumerate(past.start):
        some = np.arange(start + past.window, end + 1)
        row.append(np.full(len(some), s))
        origin.append(some)
    row_N, origin_N = np.concatenate(row), np.concatenate(origin)
    if len(row_N) > most:
        kept = np.random.default_rng(seed).choice(len(row_N), most, replace=False)
        kept.sort()
        row_N, origin_N = row_N[kept], origin_N[kept]
    return row_N, origin_N


def windows(past: Past, row_N: Ints, origin_N: Ints) -> Floats:
    """Values of the window before each origin, [N, W]."""
    found: Floats = past.value[row_N[:, None], origin_N[:, None] + np.arange(-past.window, 0)]
    return found


def window_levels(past: Past, row_N: Ints, origin_N: Ints) -> Floats:
    """Mean over the steps of usual hours of each window, [N]; never 0."""
    usual_NW = past.clock.usual[origin_N[:, None] + np.arange(-past.window, 0)]
    sum_N = (windows(past, row_N, origin_N) * usual_NW).sum(1)
    # a series that lately sold nothing keeps a scale, that of its whole past
    whole_S = levels(past.value, past.clock.usual[: past.value.shape[1]])
    least_N = 0.05 * whole_S[row_N]
    return np.asarray(np.maximum(sum_N / np.maximum(usual_NW.sum(1), 1), least_N))


def weeks_before(past: Past, row_N: Ints, origin_N: Ints) -> Floats:
    """Values at the place in the week of each step ahead, in the weeks of the window, [N, H, L].

    The last week comes first; beyond a week ahead the weeks are those before the origin.
    """
    season = past.clock.season
    ahead_H = np.arange(past.horizon) % season
    back_L = season * np.arange(1, past.window // season + 1)
    step_NHL = origin_N[:, None, None] + ahead_H[:, None] - back_L
    found: Floats = past.value[row_N[:, None, None], step_NHL]
    return found
