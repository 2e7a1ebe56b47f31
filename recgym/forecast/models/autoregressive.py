"""Linear autoregression of each series, by `statsmodels.tsa.ar_model.AutoReg`.

y(t) = c + season(t) + sum over lags k of a_k y(t - k), by conditional least squares (Box and
Jenkins 1970). Lags are the last few steps, whole weeks and, for hours, a whole day. The season is a
dummy for each weekday, or for each hour of the day where steps are hours; the week is then in the
lags alone, since 168 dummies a series would only fit noise. Steps ahead are forecast one after
another. A series shorter than three numbers a parameter is forecast as its last week.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any

import numpy as np

from recgym.errors import UserError
from recgym.forecast.clock import WEEK, Floats, Ints, Past
from recgym.forecast.models.base import alike
from recgym.settings import Count

PER_PARAMETER = 3  # numbers of a series for each parameter, at least


class Autoregressive:
    """AutoReg for each series.

    Args:
        lags: last steps that enter.
        weeks: whole weeks back that enter.
    """

    def __init__(self, *, lags: Count = 3, weeks: Count = 2) -> None:
        self.num_lags, self.num_weeks = lags, weeks
        self.lag_K: Ints = np.zeros(0, dtype=np.int64)
        self.constant_S: Floats = np.zeros(0)
        self.season_SP: Floats = np.zeros((0, 1))
        self.weight_SK: Floats = np.zeros((0, 0))

    def fit(self, past: Past) -> None:
        """Least squares for each series, from where it begins."""
        auto_reg = statsmodels_class("autoregressive", "ar_model", "AutoReg")
        season, per_day = past.clock.season, past.clock.per_day
        period = per_day if per_day > 1 else WEEK
        chosen = {*range(1, self.num_lags + 1), *(season * (k + 1) for k in range(self.num_weeks))}
        self.lag_K = np.array(sorted(chosen | ({per_day} if per_day > 1 else set())))
        num_series = len(past.value)
        self.constant_S = np.zeros(num_series)
        self.season_SP = np.zeros((num_series, period))
        # of a short series: the last week
        self.weight_SK = np.tile((self.lag_K == season).astype(np.float64), (num_series, 1))
        for s, start in enumerate(past.start):
            value_T = past.value[s, start:]
            num_parameters = period + len(self.lag_K)
            if len(value_T) - self.lag_K[-1] < PER_PARAMETER * num_parameters:
                continue
            with warnings.catch_warnings():
                # a weekday on which the shop is closed is a dummy that tells nothing: the pseudo-
                # inverse gives it no weight
                warnings.simplefilter("ignore")
                made = auto_reg(value_T, self.lag_K.tolist(), seasonal=True, period=period).fit()
            self._keep(s, int(start) % period, np.asarray(made.params))

    def _keep(self, s: int, shift: int, parameter: Floats) -> None:
        """Parameters are the constant, dummies of all seasons but the series' first, and lags."""
        period = self.season_SP.shape[1]
        self.constant_S[s] = parameter[0]
        self.season_SP[s, (shift + np.arange(1, period)) % period] = parameter[1:period]
        self.weight_SK[s] = parameter[period:]

    def predict(self, past: Past) -> Floats:
        """One step after another, each from the forecasts before it."""
        begin, period = past.value.shape[1], self.season_SP.shape[1]
        value_ST = np.concatenate([past.value, np.zeros((len(past.value), past.horizon))], 1)
        for t in range(begin, begin + past.horizon):
            lagged_SK = value_ST[:, t - self.lag_K]
            value_ST[:, t] = self.constant_S + self.season_SP[:, t % period]
            value_ST[:, t] += (self.weight_SK * lagged_SK).sum(1)
            value_ST[:, t] *= past.clock.usual[t]
        return alike(value_ST[:, begin:])


def statsmodels_class(model: str, module: str, name: str) -> Any:
    """A class of the library's `tsa`, which only some models need."""
    try:
        return getattr(import_module(f"statsmodels.tsa.{module}"), name)
    except ImportError:
        raise UserError(
            f"models.{model} needs statsmodels: pip install 'recgym[forecast]', or leave the model "
            "out with use=[seasonal_naive,boosting,lstm]."
        ) from None
