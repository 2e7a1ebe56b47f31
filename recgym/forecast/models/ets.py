"""Exponential smoothing in state-space form, by statsmodels' `ETSModel`.

ETS(A, N, A) or, with ``trend``, ETS(A, Ad, A), of Hyndman, Koehler, Ord and Snyder 2008, table 2.2,
by maximum likelihood for each series; initial states by the heuristic of their section 2.6.1.
Deviation: the smoothing weights are fitted once, before a block, and the states then run over all
that is known at each origin, not over a window. A series of fewer than two weeks, or one that never
changes, is forecast as its last week.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from recgym.forecast.clock import Floats, Past
from recgym.forecast.models.autoregressive import statsmodels_class
from recgym.forecast.models.base import alike
from recgym.settings import Count


class Ets:
    """ETS for each series.

    Args:
        trend: whether a damped trend is fitted.
        weeks: of the past that the weights are fitted to and the states run over, the last ones.
    """

    def __init__(self, *, trend: bool = False, weeks: Count = 26) -> None:
        self.trend, self.weeks = trend, weeks
        self.parameter_S: list[Floats | None] = []

    def fit(self, past: Past) -> None:
        """Weights of each series."""
        self.parameter_S = []
        for s in range(len(past.value)):
            value_T = self._value(past, s)
            if len(value_T) < 2 * past.clock.season or np.ptp(value_T) == 0:
                self.parameter_S.append(None)
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of an optimum at a bound, which is one
                made = self._model(value_T, past.clock.season).fit(disp=False, maxiter=100)
            self.parameter_S.append(np.asarray(made.params))

    def predict(self, past: Past) -> Floats:
        """States run up to the origin, then their mean."""
        season = past.clock.season
        point_SH = past.value[:, -season:][:, np.arange(past.horizon) % season].copy()
        for s, parameter in enumerate(self.parameter_S):
            value_T = self._value(past, s)
            if parameter is None or np.ptp(value_T) == 0:
                continue
            point_SH[s] = self._model(value_T, season).smooth(parameter).forecast(past.horizon)
        return alike(point_SH)

    def _value(self, past: Past, s: int) -> Floats:
        begin = max(int(past.start[s]), past.value.shape[1] - self.weeks * past.clock.season)
        return past.value[s, begin:]

    def _model(self, value_T: Floats, season: int) -> Any:
        made = statsmodels_class("ets", "exponential_smoothing.ets", "ETSModel")
        return made(
            value_T, error="add", trend="add" if self.trend else None, damped_trend=self.trend,
            seasonal="add", seasonal_periods=season, initialization_method="heuristic",
        )  # fmt: skip
