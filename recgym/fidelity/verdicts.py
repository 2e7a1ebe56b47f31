"""From statistics to verdicts: value, interval, noise floor, target, pass or fail.

**The floor at that size.** As many sessions are simulated as the real side holds. Each halving cuts
the real side into two random halves A and B, shopper by shopper, and draws a random half C of the
simulated side. The floor's sample is the statistic of A against B, the value's sample that of C
against A: both compare half with half, so both carry the same noise and the same bias (a distance
of two small samples is never 0). The *value* is the mean over the halvings (the size of that mean,
where errors have a sign), the *floor* the 95th percentile of its samples (the 5th where more is
better). A row passes where its value is at most the larger of target and floor (at least the
smaller of the two, where more is better): less than what the log differs from itself is not asked.
Rows that fit something take fewer halvings, and at most so many sessions of each half.

**The interval** holds 95 % of resamples of whole blocks of shoppers, moved so that their median is
the value, since resampling adds a noise of its own to every distance.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from recgym.fidelity.trace import Floats

TAIL = 0.025  # on either side of an interval
FLOOR = 0.95
DEFINED = 0.9  # share of the halvings in which a statistic must have a value
PASS, FAIL = "pass", "fail"
UNDEFINED, UNMEASURED, UNKNOWN = "not defined", "not measured", "unknown"
DISTANCE = "distance"  # never below 0
ERROR = "error"  # on either side of 0: its size is judged
LOSS = "loss"  # below 0 it is a gain, and no fault
TOO_FEW = "too few such events on one of the sides"


@dataclass(frozen=True)
class Row:
    """One row of the scorecard; None where there is no number."""

    name: str
    title: str
    verdict: str  # PASS, FAIL, UNDEFINED, UNMEASURED or UNKNOWN
    form: str = "number"  # or percent: how value, interval, floor and target are printed
    value: float | None = None
    low: float | None = None
    high: float | None = None
    floor: float | None = None
    target: float | None = None
    higher: bool = False
    simulated: float | None = None
    real: float | None = None
    figure_form: str = "number"
    num_halvings: int = 0
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def verdict(value: float, target: float, floor: float | None, higher: bool) -> str:
    """Pass or fail; see the module's docstring."""
    if higher:
        return PASS if value >= min(target, target if floor is None else floor) else FAIL
    return PASS if value <= max(target, 0.0 if floor is None else floor) else FAIL


@dataclass(frozen=True)
class Samples:
    """What halving and resampling gave: each an error, with its sign where it has one."""

    value: Floats  # [H] simulated half against real half
    floor: Floats  # [H] real half against the other
    boot: Floats  # [R] simulated against real, both resampled
    kind: str = DISTANCE  # DISTANCE, ERROR or LOSS


def judged(row: Row, samples: Samples, target: float) -> Row:
    """The row with its numbers and verdict; `UNDEFINED` where the samples have no value."""
    known = np.isfinite(samples.value) & np.isfinite(samples.floor)
    boot = samples.boot[np.isfinite(samples.boot)]
    if known.mean() < DEFINED or not len(boot):
        return replace(row, verdict=UNDEFINED, target=target, note=row.note or TOO_FEW)
    centre = float(samples.value[known].mean())
    floors = samples.floor[known] if row.higher else np.abs(samples.floor[known])
    floor = float(np.quantile(floors, 1.0 - FLOOR if row.higher else FLOOR))
    low, high = np.quantile(boot, [TAIL, 1.0 - TAIL]) + centre - np.median(boot)
    value, low, high = size_of(centre, float(low), float(high), samples.kind)
    if row.higher:
        high = min(high, 1.0)
    return replace(
        row,
        verdict=verdict(value, target, floor, row.higher),
        value=value,
        low=low,
        high=high,
        floor=floor,
        target=target,
        num_halvings=int(known.sum()),
    )


def size_of(centre: float, low: float, high: float, kind: str) -> tuple[float, float, float]:
    """Value and interval as they are judged: of an error its size, of a distance cut off at 0."""
    if kind == LOSS:
        return centre, low, high
    if kind == DISTANCE:
        return centre, max(low, 0.0), high
    largest = max(abs(low), abs(high))
    smallest = 0.0 if low <= 0.0 <= high else min(abs(low), abs(high))
    return abs(centre), smallest, largest
