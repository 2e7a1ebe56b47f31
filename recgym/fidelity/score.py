"""Halving and resampling two records, and judging the statistics made of counts.

How a verdict is reached stands in `recgym.fidelity.verdicts`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from recgym.fidelity.counts import Counts, table
from recgym.fidelity.frame import Frame
from recgym.fidelity.rows import DRIFTING, EARLY, LATE, STATISTICS, Statistic
from recgym.fidelity.trace import Bools, Floats, Ints, Trace
from recgym.fidelity.verdicts import DISTANCE, ERROR, FLOOR, UNDEFINED, Row, Samples, judged


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
