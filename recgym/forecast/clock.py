"""The time axis of all series of a log: steps of an hour or a day, and when the shop is open.

Dims of this package: S series, T steps, H steps ahead (the horizon), Q quantiles, O origins,
W steps of the window that a model looks back over, L weeks in that window.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from recgym.types import DAY_MS, HOUR_MS

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]

STEP_MS = {"day": DAY_MS, "hour": HOUR_MS}
WEEK = 7  # days: the season of every model
MONDAY = 3  # days from a Monday to 1970-01-01


@dataclass(frozen=True)
class Clock:
    """Steps from a midnight (UTC) on, to the end of the log and a horizon beyond."""

    step: str  # day or hour
    start_ms: int  # of step 0, a midnight
    num_steps: int  # that the log covers
    usual: Bools  # [T + more] whether the shop is open at that place in the week; 0 elsewhere
    open: Bools  # [T] and whether it was indeed: scored. No model reads it, for it looks ahead

    @property
    def per_day(self) -> int:
        """Steps of a day."""
        return DAY_MS // STEP_MS[self.step]

    @property
    def season(self) -> int:
        """Steps of a week."""
        return WEEK * self.per_day

    def weekday(self, step: Ints) -> Ints:
        """0 for Monday to 6 for Sunday."""
        return (self.start_ms // DAY_MS + step // self.per_day + MONDAY) % WEEK

    def hour(self, step: Ints) -> Ints:
        """Hour of the day; 0 for steps of a day."""
        return step % self.per_day

    def day_of_month(self, step: Ints) -> Ints:
        """From 1 to 31."""
        day = (self.start_ms // DAY_MS + step // self.per_day).astype("datetime64[D]")
        found: Any = (day - day.astype("datetime64[M]")).astype(np.int64) + 1
        return np.asarray(found, dtype=np.int64)

    def slot(self, step: Ints) -> Ints:
        """Place in the week, from Monday 0 h on."""
        return self.weekday(step) * self.per_day + self.hour(step)

    def time(self, step: int) -> str:
        """When a step begins, as ISO 8601 in UTC."""
        moment = datetime.fromtimestamp((self.start_ms + step * STEP_MS[self.step]) / 1000, UTC)
        return moment.date().isoformat() if self.step == "day" else moment.strftime("%Y-%m-%dT%H")


@dataclass(frozen=True)
class Past:
    """All that a model may look at: values before the origin, and the calendar beyond it."""

    value: Floats  # [S, T], the origin is step T
    start: Ints  # [S] step of the first value above 0: nothing before it is learned from
    clock: Clock
    window: int  # steps that a model with a window looks back over
    horizon: int  # steps ahead to forecast

    @property
    def ahead(self) -> Ints:
        """The steps to forecast, [H]."""
        return np.arange(self.value.shape[1], self.value.shape[1] + self.horizon)

    def until(self, origin: int) -> Past:
        """The same, seen from an earlier origin."""
        return Past(self.value[:, :origin], self.start, self.clock, self.window, self.horizon)
