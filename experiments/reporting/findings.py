"""What an arena says: who is best, how sure that is, and what it would earn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.reporting.arenas import CEILING, Arena, Candidate
from experiments.reporting.sampling import (
    Beaten,
    Draws,
    Floats,
    Interval,
    all_pairs,
    best_of,
    blocks,
    drawn,
    estimated,
    shoppers_drawn,
)
from experiments.reporting.trial import Trial, trial
from recgym import metrics

HALF_WIDTH = 1.959964  # standard errors in half an interval of 95 %
SEED = 0  # of the resampling


@dataclass(frozen=True)
class Metric:
    """A ratio of sums over shoppers, and where a run's summary has it."""

    key: str  # in the summary
    top: str  # fields of `agents.shoppers`
    bottom: str | None  # None: of each row


RECOMMENDED = {
    "money": Metric(metrics.REVENUE, "credited_revenue", "sessions"),
    "conversion": Metric("conversion_rate", "converted", "sessions"),
}
RETURNING = {  # shoppers, who may come back
    **RECOMMENDED,
    "money": Metric(metrics.OF_SHOPPERS[0], "credited_revenue", None),
    "sessions": Metric("sessions_per_shopper", "sessions", None),
}
WITH_ADS = {
    "money": Metric("earned_per_shopper", "earned", None),
    "conversion": Metric("conversion_rate", "converted", "sessions"),
    "sales": Metric("revenue_per_session", "revenue", "sessions"),
    "ad_revenue": Metric("ad_revenue_per_session", "ad_revenue", "sessions"),
    "load": Metric("ad_load", "sponsored", "shown"),
    "satisfaction": Metric("satisfaction", "satisfaction", "pages"),
}
LATER = ("satisfaction",)  # that runs of earlier versions did not keep


@dataclass(frozen=True)
class Standing:
    """A candidate's place."""

    candidate: Candidate
    values: dict[str, Interval]  # of each `Metric` of the arena
    lift: Interval  # of money, above showing nothing
    best: float | None  # share of resamples in which it is the best; None for what sees the truth
    claim: Interval | None  # the lift in the learned shop, where another shop decides
    range: tuple[float, float] | None  # of the learned lift over assumptions, worst and best

    @property
    def name(self) -> str:
        """Of the candidate."""
        return self.candidate.name


@dataclass(frozen=True)
class Findings:
    """All of an arena."""

    arena: Arena
    standings: tuple[Standing, ...]  # the best first
    pairs: dict[tuple[str, str], Beaten]  # of what a site could deploy
    conversion_pairs: dict[tuple[str, str], Beaten]
    trials: dict[str, Trial]  # the winner against each other; empty without pairs

    @property
    def deployable(self) -> tuple[Standing, ...]:
        """Without those that see what no site can."""
        return tuple(one for one in self.standings if one.candidate.kind != CEILING)

    @property
    def winner(self) -> Standing:
        """Who earned most."""
        return self.deployable[0]

    @property
    def runner_up(self) -> Standing | None:
        """Who earned most but for one."""
        return self.deployable[1] if len(self.deployable) > 1 else None

    def standing(self, name: str) -> Standing | None:
        """Of a candidate by its name."""
        return next((one for one in self.standings if one.name == name), None)

    @property
    def clear(self) -> bool:
        """Whether the winner beats the runner-up beyond the corrected 5 %."""
        second = self.runner_up
        return second is None or self.pairs[self.winner.name, second.name].holm < 0.05


def findings_of(arena: Arena) -> Findings:
    """Rank, compare and plan the tests, in the shop that decides."""
    shop, wanted = arena.deciding, _metrics(arena)
    draws = {key: _all_draws(arena, shop, metric) for key, metric in wanted.items()}
    lift = _lifts(arena, shop, draws["money"])
    claims = {}
    if shop != "learned":
        claims = _lifts(arena, "learned", _all_draws(arena, "learned", wanted["money"]))
    kinds = {one.name: one for one in arena.candidates}
    honest = {name: one for name, one in lift.items() if kinds[name].kind != CEILING}
    best = best_of(honest)
    standings = [
        Standing(
            candidate=kinds[name],
            values={key: draws[key][name].interval() for key in wanted},
            lift=lift[name].interval(),
            best=best.get(name),
            claim=claims[name].interval() if name in claims else None,
            range=_range(kinds[name], metrics.money(arena.sessions_each)[1]),
        )
        for name in sorted(lift, key=lambda name: -lift[name].mean)
    ]
    converted = {name: draws["conversion"][name] for name in honest}
    pairs, conversion_pairs = all_pairs(honest), all_pairs(converted)
    found = Findings(arena, tuple(standings), pairs, conversion_pairs, {})
    trials = _trials(found, shop) if arena.paired else {}
    return Findings(arena, found.standings, pairs, conversion_pairs, trials)


def _metrics(arena: Arena) -> dict[str, Metric]:
    """Those that every run of the arena kept."""
    if not arena.ads:
        return RECOMMENDED if arena.sessions_each == 1 else RETURNING
    seeds, shop = [seed for one in arena.candidates for seed in one.seeds], arena.deciding

    def kept(metric: Metric) -> bool:
        if arena.paired:
            return all(metric.top in (seed.columns(shop) or {metric.top}) for seed in seeds)
        return all(metric.key in (seed.row(shop) or {metric.key}) for seed in seeds)

    return {key: one for key, one in WITH_ADS.items() if key not in LATER or kept(one)}


# ---- draws --------------------------------------------------------------------------------------


def _all_draws(arena: Arena, shop: str, metric: Metric) -> dict[str, Draws]:
    """Of each candidate that was played in this shop."""
    there = [one for one in arena.candidates if all(seed.row(shop) for seed in one.seeds)]
    if not arena.paired:
        return {one.name: _estimated(one, shop, metric) for one in there}
    columns = {one.name: _rows(one, shop, metric) for one in there}
    num_blocks = blocks(next(iter(columns.values()))[0]).shape[1]
    times_RJ = shoppers_drawn(num_blocks, SEED)
    return {name: drawn(name, *both, times_RJ) for name, both in columns.items()}


def _rows(candidate: Candidate, shop: str, metric: Metric) -> tuple[Floats, Floats]:
    """Numerator and denominator of each seed and shopper, [S, B] each."""
    top = field(candidate, shop, metric.top)
    if metric.bottom is None:
        return top, np.ones_like(top)
    return top, field(candidate, shop, metric.bottom)


def field(candidate: Candidate, shop: str, name: str) -> Floats:
    """A field of `agents.shoppers` of each seed and shopper, [S, B]."""
    rows = []
    for seed in candidate.seeds:
        columns = seed.columns(shop)
        assert columns is not None
        # rows are single sessions where their number was not kept
        one = columns.get(name) if name in columns else np.ones_like(columns["revenue"])
        rows.append(np.asarray(one, dtype=np.float64))
    return np.stack(rows)


def _estimated(candidate: Candidate, shop: str, metric: Metric) -> Draws:
    return _from(candidate, shop, metric.key)


def _from(candidate: Candidate, shop: str, key: str) -> Draws:
    """From the runs' own estimates."""
    rows: list[Mapping[str, Any]] = [(seed.row(shop) or {})[key] for seed in candidate.seeds]
    mean_S = np.array([row["mean"] for row in rows], dtype=np.float64)
    width_S = np.array([(row["high"] or row["mean"]) - (row["low"] or row["mean"]) for row in rows])
    return estimated(candidate.name, mean_S, width_S / (2.0 * HALF_WIDTH))


def _lifts(arena: Arena, shop: str, money: Mapping[str, Draws]) -> dict[str, Draws]:
    """Above showing nothing; of runs without pairs their own differences, which were paired."""
    if not arena.paired and not arena.ads:
        kinds = {one.name: one for one in arena.candidates}
        key = metrics.money(arena.sessions_each)[1]
        return {name: _from(kinds[name], shop, key) for name in money}
    nothing = money[arena.nothing]
    return {name: draws.minus(nothing) for name, draws in money.items()}


def _range(candidate: Candidate, lift: str) -> tuple[float, float] | None:
    """Where showing is assumed: the worst and the best assumption's lift, means over seeds."""
    rows = [(seed.row("learned") or {}) for seed in candidate.seeds]
    found = [(row.get(lift) or {}).get("range") for row in rows]
    if not found or any(one is None for one in found):
        return None
    ends = [(one["worst"], one["best"]) for one in found if one is not None]
    return float(np.mean([a for a, _ in ends])), float(np.mean([b for _, b in ends]))


# ---- tests --------------------------------------------------------------------------------------


def _trials(found: Findings, shop: str) -> dict[str, Trial]:
    """The winner against each other that a site could deploy."""
    ads, winner = found.arena.ads, found.winner.candidate
    counted, paid = ("earned", "earned") if ads else ("credited_revenue", "revenue")

    def both(other: Candidate, name: str) -> tuple[Floats, Floats]:
        return field(winner, shop, name), field(other, shop, name)

    result = {}
    for standing in found.deployable[1:]:
        other = standing.candidate
        converted = both(other, "converted")
        result[other.name] = trial(
            found.pairs[winner.name, other.name].difference.mean,
            float(converted[0].mean() - converted[1].mean()),
            both(other, counted),
            both(other, paid),
            converted,
        )
    return result
