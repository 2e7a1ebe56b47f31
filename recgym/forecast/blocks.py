"""Rolling origins: training, then a block that validates and calibrates, then the test block.

Windows of a block do not overlap: each origin lies a horizon after the one before. Both blocks have
as many windows as asked for, and no more than leave each block a sixth of the days.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recgym.errors import UserError
from recgym.forecast.clock import Ints

SMALLEST_SHARE = 6  # of the days in each of the two blocks, at most one in so many


@dataclass(frozen=True)
class Blocks:
    """Where windows begin; all in steps."""

    window: int
    horizon: int
    valid: Ints  # [O] origins that choose the model and calibrate its intervals
    test: Ints  # [O] origins that nothing is chosen by


def make_blocks(
    *, num_days: int, per_day: int, window: int, horizon: int, windows: int, source: str
) -> Blocks:
    """The blocks at the end of ``num_days``; ``window`` and ``horizon`` are in days here."""
    number = min(windows, num_days // (SMALLEST_SHARE * horizon))
    first = num_days - 2 * number * horizon
    if number < 1 or first < window + horizon:
        least = _least(window, horizon)
        raise UserError(
            f"the log {source} has {num_days} whole days, fewer than the {least} that window="
            f"{window} and horizon={horizon} need: expected a longer log; set window and horizon "
            "to fewer days."
        )
    step = np.arange(number) * horizon
    return Blocks(
        window=window * per_day,
        horizon=horizon * per_day,
        valid=(first + step) * per_day,
        test=(first + number * horizon + step) * per_day,
    )


def _least(window: int, horizon: int) -> int:
    return max(SMALLEST_SHARE * horizon, window + 3 * horizon)
