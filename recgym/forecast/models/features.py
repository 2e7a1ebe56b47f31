"""The calendar as numbers, for the models that learn over all series at once."""

from __future__ import annotations

import numpy as np

from recgym.forecast.clock import WEEK, Clock, Floats, Ints

DAYS_OF_MONTH = 31


def waves(clock: Clock, step: Ints) -> Floats:
    """Weekday, and hour where steps are hours, as points on circles, and whether the shop is open.

    Shape of ``step`` with one more dim.
    """
    turns = [clock.weekday(step) / WEEK, clock.day_of_month(step) / DAYS_OF_MONTH]
    if clock.per_day > 1:
        turns.append(clock.hour(step) / clock.per_day)
    angle = 2 * np.pi * np.stack(turns, -1)
    return np.concatenate([np.sin(angle), np.cos(angle), clock.usual[step][..., None]], -1)
