"""Gradient boosting over all series at once, one fit a quantile.

scikit-learn's `HistGradientBoostingRegressor` with the pinball loss (Friedman 2001, section 4.3,
for the median; Koenker and Bassett 1978 for the loss). One row is a series, an origin and a step
ahead; steps ahead are forecast directly, not one from another. Everything is divided by the level
of the window, so that series of all sizes share what is learned. Columns: the same place in the
week in the weeks of the window and their mean, level of the last week and of the last day against
the window, spread and share of zeros of the window, log of its level, weekday, hour, day of the
month, steps ahead. Crossing quantiles are sorted (Chernozhukov, Fernandez-Val and Galichon 2010).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor

from recgym.forecast.clock import Floats, Ints, Past
from recgym.forecast.models.base import (
    QUANTILES,
    SMALL,
    origins,
    weeks_before,
    window_levels,
    windows,
)
from recgym.settings import Count, Positive


class Boosting:
    """Trees that forecast quantiles.

    Args:
        iterations: trees of each quantile.
        learning_rate: of each tree.
        leaves: of a tree, at most.
        leaf_rows: of a leaf, at least.
        max_rows: that are learned from; a random part of them where there are more.
        seed: of that part.
    """

    def __init__(
        self,
        *,
        iterations: Count = 150,
        learning_rate: Positive = 0.05,
        leaves: Count = 15,
        leaf_rows: Count = 40,
        max_rows: Count = 60_000,
        seed: int = 0,
    ) -> None:
        self.settings: dict[str, Any] = {
            "max_iter": iterations, "learning_rate": learning_rate, "max_leaf_nodes": leaves,
            "min_samples_leaf": leaf_rows, "random_state": seed, "early_stopping": False,
        }  # fmt: skip
        self.max_rows, self.seed = max_rows, seed
        self.trees: list[Any] = []

    def fit(self, past: Past) -> None:
        """Rows of all windows before the origin."""
        row_N, origin_N = origins(past, max(1, self.max_rows // past.horizon), self.seed)
        ahead_NH = origin_N[:, None] + np.arange(past.horizon)
        level_N = window_levels(past, row_N, origin_N)
        target_R = (past.value[row_N[:, None], ahead_NH] / level_N[:, None]).ravel()
        known_R = past.clock.usual[ahead_NH].ravel()  # what is closed is 0 and is not forecast
        feature_RF = self._features(past, row_N, origin_N).reshape(len(target_R), -1)[known_R]
        self.trees = [
            HistGradientBoostingRegressor(loss="quantile", quantile=q, **self.settings).fit(
                feature_RF, target_R[known_R]
            )
            for q in QUANTILES
        ]

    def predict(self, past: Past) -> Floats:
        """All series from the one origin."""
        row_S = np.arange(len(past.value))
        origin_S = np.full(len(row_S), past.value.shape[1])
        feature_SHF = self._features(past, row_S, origin_S)
        feature_RF = feature_SHF.reshape(-1, feature_SHF.shape[-1])
        found_RQ = np.stack([tree.predict(feature_RF) for tree in self.trees], -1)
        scaled_SHQ = np.sort(found_RQ, -1).reshape(len(row_S), past.horizon, len(QUANTILES))
        found: Floats = scaled_SHQ * window_levels(past, row_S, origin_S)[:, None, None]
        return found

    @staticmethod
    def _features(past: Past, row_N: Ints, origin_N: Ints) -> Floats:
        """[N, H, F]."""
        clock, value_NW = past.clock, windows(past, row_N, origin_N)
        level_N = window_levels(past, row_N, origin_N)
        weeks_NHL = weeks_before(past, row_N, origin_N) / level_N[:, None, None]
        alike_N = [
            value_NW[:, -clock.season :].mean(1) / level_N,
            value_NW[:, -clock.per_day :].mean(1) / level_N,
            value_NW.std(1) / level_N,
            (value_NW <= SMALL).mean(1),
            np.log1p(level_N),
        ]
        ahead_NH = origin_N[:, None] + np.arange(past.horizon)
        calendar = [clock.weekday(ahead_NH), clock.hour(ahead_NH), clock.day_of_month(ahead_NH)]
        shape = ahead_NH.shape
        columns = [
            *np.moveaxis(weeks_NHL, -1, 0),
            weeks_NHL.mean(-1),
            *(np.broadcast_to(one_N[:, None], shape) for one_N in alike_N),
            *calendar,
            np.broadcast_to(np.arange(past.horizon), shape),
        ]
        return np.stack(columns, -1)
