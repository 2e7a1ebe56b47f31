"""From statistics to verdicts: value, interval, noise floor, target, pass or fail.

**The floor at that size.** As many sessions are simulated as the real side holds. Each halving cuts
the real side into two random halves A and B, shopper by shopper, and draws a random half C of the
simulated side. The floor's sample is the statistic of A against B, the value's sample that of C
against A: both compare half with half, so both carry the same noise and the same bias (a distance
of two small samples is never 0). The *value* is the mean over the halvings (the size of that mean,
where errors have a sign), the *floor* the 95th percentile of its samples (the 5th where more is
better). A row passes where its value is at most the larger of target and floor (at least the
smaller of the two, where more is better): less than what the log differs from itself is not asked.

**The interval** holds 95 % of resamples of whole blocks of shoppers, moved so that their median is
the value, since resampling adds a noise of its own to every distance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from recgym.fidelity.counts import Counts, Frame, table
from recgym.fidelity.rows import DRIFTING, EARLY, LATE, STATISTICS, Statistic
from recgym.fidelity.trace import Bools, Floats, Ints, Trace

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


@dataclass(frozen=True)
class Plan:
    """Which blocks are in which half, and how often in which resample; G and Q blocks a side."""

    half_HG: Bools  # real
    half_HQ: Bools  # simulated
    boot_RG: Floats
    boot_RQ: Floats

    def paired(self) -> Plan:
        """The same halves on both sides: for two records of the same sessions."""
        return replace(self, half_HQ=self.half_HG, boot_RQ=self.boot_RG)


def make_plan(num_real: int, num_simulated: int, halvings: int, resamples: int, seed: int) -> Plan:
    """Random halves and resamples of so many blocks."""
    rng = np.random.default_rng(seed)

    def halves(count: int) -> Bools:
        order = rng.permuted(np.tile(np.arange(count), (halvings, 1)), axis=1)
        return np.asarray(order < count // 2)

    def resampled(count: int) -> Floats:
        chances = np.full(count, 1.0 / count)
        return rng.multinomial(count, chances, size=resamples).astype(np.float64)

    return Plan(
        halves(num_real), halves(num_simulated), resampled(num_real), resampled(num_simulated)
    )


def sample(
    error: Callable[[Floats, Floats], Floats], simulated: Any, real: Any, plan: Plan
) -> Samples:
    """Halve and resample two tables of counts by block, [Q, J] and [G, J]."""
    first_HJ = np.asarray(plan.half_HG.astype(np.float64) @ real)
    second_HJ = np.asarray((~plan.half_HG).astype(np.float64) @ real)
    ours_HJ = np.asarray(plan.half_HQ.astype(np.float64) @ simulated)
    boot = error(np.asarray(plan.boot_RQ @ simulated), np.asarray(plan.boot_RG @ real))
    floor = error(second_HJ, first_HJ)
    value = error(ours_HJ, first_HJ)
    signed = bool((value < 0).any() or (boot < 0).any() or (floor < 0).any())
    return Samples(value, floor, boot, ERROR if signed else DISTANCE)


@dataclass(frozen=True)
class Sides:
    """The two records, their blocks and what they are counted against."""

    simulated: Trace
    real: Trace
    block_simulated: Ints
    block_real: Ints
    frame: Frame
    plan: Plan
    truth: bool  # whether the real side is a true shop, whose targets are stricter

    def tables(self, counting: Callable[[Trace, Frame], Counts]) -> tuple[Any, Any]:
        """Sums by block of the simulated and of the real side."""
        return (
            table(counting(self.simulated, self.frame), self.block_simulated),
            table(counting(self.real, self.frame), self.block_real),
        )

    def lacks(self, needs: str) -> str:
        """Why a row that needs prices or impressions is not defined; empty where it is."""
        missing = {"prices": not self.frame.priced, "impressions": not self.frame.shown}
        return f"not defined for this log: it holds no {needs}" if missing.get(needs) else ""


def row_of(statistic: Statistic, sides: Sides) -> Row:
    """One statistic, judged."""
    row = Row(
        name=statistic.name,
        title=statistic.title,
        verdict=UNDEFINED,
        form=statistic.form,
        higher=statistic.higher,
        figure_form=statistic.figure_form,
        note=sides.lacks(statistic.needs),
    )
    if row.note:
        return row
    simulated, real = sides.tables(statistic.count)
    samples = sample(statistic.error, simulated, real, sides.plan)
    row = judged(row, samples, statistic.on_truth if sides.truth else statistic.on_log)
    if statistic.figure is None or row.value is None:
        return row
    ours, theirs = (statistic.figure(np.asarray(x.sum(0))[None])[0] for x in (simulated, real))
    return replace(row, simulated=_finite(ours), real=_finite(theirs))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def drift(sides: Sides) -> Row:
    """Errors on late pages against those on early ones, each as a share of what is allowed there.

    For each statistic of `DRIFTING` and each of the two windows an error is divided by the larger
    of its target and its floor in that window, since late pages are fewer and so noisier; the row
    is the sum over the late windows divided by that over the early ones.
    """
    row = Row("drift", f"drift: errors on pages {LATE[0]}-{LATE[1]} against {EARLY[0]}-{EARLY[1]}",
              UNDEFINED, note="")  # fmt: skip
    windows: list[list[Samples]] = [[], []]
    for statistic in STATISTICS:
        if statistic.name not in DRIFTING:
            continue
        target = statistic.on_truth if sides.truth else statistic.on_log
        pair = [_in_window(statistic, sides, window, target) for window in (EARLY, LATE)]
        if all(np.isfinite(part.value).all() and np.isfinite(part.floor).all() for part in pair):
            for place, part in enumerate(pair):
                windows[place].append(part)
    if not windows[0]:
        return replace(row, target=1.5 if sides.truth else 2.0, note="too few long sessions")
    early, late = (_added(parts) for parts in windows)
    with np.errstate(divide="ignore", invalid="ignore"):
        samples = Samples(
            np.array([late.value.mean() / early.value.mean()]).repeat(len(late.floor)),
            late.floor / early.floor,
            late.boot / early.boot,
        )
    return judged(row, samples, 1.5 if sides.truth else 2.0)


def _in_window(
    statistic: Statistic, sides: Sides, window: tuple[int, int], target: float
) -> Samples:
    """Sizes of the errors of one window, as shares of what is allowed there."""
    tables = sides.tables(lambda trace, frame: statistic.count(trace, frame).on_pages(*window))
    found = sample(statistic.error, *tables, sides.plan)
    allowed = max(target, float(np.quantile(np.abs(found.floor), FLOOR)))
    centre = np.full(len(found.value), abs(found.value.mean()))
    return Samples(centre / allowed, np.abs(found.floor) / allowed, np.abs(found.boot) / allowed)


def _added(parts: list[Samples]) -> Samples:
    return Samples(
        np.sum([part.value for part in parts], 0),
        np.sum([part.floor for part in parts], 0),
        np.sum([part.boot for part in parts], 0),
    )
