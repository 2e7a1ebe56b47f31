"""The forecast is the value of a week before: what every other model must beat."""

from __future__ import annotations

import numpy as np

from recgym.forecast.clock import Floats, Past
from recgym.forecast.models.base import alike


class SeasonalNaive:
    """y(t + h) is the last value seen at the same place in the week."""

    def fit(self, past: Past) -> None:
        """Nothing to learn."""

    def predict(self, past: Past) -> Floats:
        """The last week, as often as the horizon needs it."""
        season = past.clock.season
        return alike(past.value[:, -season:][:, np.arange(past.horizon) % season])
