"""What the cells say together: normalised scores, their intervals, and what each agent took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.benchmarking.cell import DONE, CellSettings
from experiments.benchmarking.plan import CEILING_SEED, MYOPIC, RANDOM
from experiments.benchmarking.scores import Scores, better, interquartile, normalised, profile
from recgym.metrics import Estimate

THRESHOLDS = np.linspace(-0.25, 1.25, 61)  # of the performance profiles
Values = dict[int, float]  # revenue a session, by seed of the shoppers


@dataclass(frozen=True)
class Outcome:
    """A cell, whether it was run, and its result or what was in the way."""

    cell: CellSettings
    state: str
    result: Mapping[str, Any]

    def value(self, seed: int) -> float:
        """Revenue a session on these shoppers."""
        return float(self.result["values"][str(seed)]["mean"])


@dataclass(frozen=True)
class Bounds:
    """What scores of a shop are between, on the shoppers of each seed."""

    random: Values
    oracle: Values
    said: str  # what the oracle is


def content_of(outcomes: list[Outcome], compare_with: str) -> dict[str, Any]:
    """All that benchmark.json holds of these cells."""
    done = [outcome for outcome in outcomes if outcome.state == DONE]
    shops = list(dict.fromkeys(outcome.cell.shop for outcome in outcomes))
    bounds = {shop: _bounds(shop, done) for shop in shops}
    rows = list(dict.fromkeys(o.cell.agent for o in outcomes if not o.cell.ceiling))
    scores = {row: _scores(row, done, bounds) for row in rows}
    agents = [_row(row, outcomes, scores, compare_with) for row in rows]
    agents.sort(key=lambda row: np.inf if row["score"]["mean"] is None else -row["score"]["mean"])
    scored = {row["agent"]: scores[row["agent"]] for row in agents if scores[row["agent"]]}
    return {
        "compare_with": compare_with,
        "shops": {shop: _shop(shop, found, done) for shop, found in bounds.items()},
        "agents": agents,
        "better_than": {
            name: {other: better(of, scored[other]).mean for other in scored if other != name}
            for name, of in scored.items()
        },
        "profiles": {
            "thresholds": THRESHOLDS.tolist(),
            **{name: profile(of, THRESHOLDS).tolist() for name, of in scored.items()},
        },
        "not_run": [
            {
                "shop": o.cell.shop,
                "agent": o.cell.agent,
                "seed": o.cell.seed,
                "state": o.state,
                **o.result,
            }
            for o in outcomes
            if o.state != DONE
        ],
        "cells": [dict(outcome.result) for outcome in done],
    }


def _bounds(shop: str, done: list[Outcome]) -> Bounds | str:
    """Of a shop's scores, or why it has none."""
    here = [outcome for outcome in done if outcome.cell.shop == shop]
    random = {o.cell.seed: o.value(o.cell.seed) for o in here if o.cell.agent == RANDOM}
    myopic = {o.cell.seed: o.value(o.cell.seed) for o in here if o.cell.agent == MYOPIC}
    candidates = [outcome for outcome in here if outcome.cell.ceiling]
    if not random or not (myopic or candidates):
        return f"{RANDOM if not random else 'the oracle'} was not run"
    if candidates:
        best = max(candidates, key=lambda outcome: outcome.value(CEILING_SEED))
        said = f"{best.cell.agent}, {best.result['steps']:,} steps in the true shop"
        oracle = {seed: best.value(seed) for seed in random}
    else:
        said, oracle = "myopic, of the true probabilities and state", myopic
    short = [seed for seed in random if seed not in oracle or oracle[seed] <= random[seed]]
    if short:
        return f"on shoppers {short[0]} the oracle ({said}) earns no more than random items"
    return Bounds(random, oracle, said)


def _scores(row: str, done: list[Outcome], bounds: Mapping[str, Bounds | str]) -> Scores:
    """The row's normalised scores, one a run, of the shops in which they are defined."""
    found: dict[str, list[float]] = {}
    for outcome in done:
        cell, of = outcome.cell, bounds[outcome.cell.shop]
        if cell.agent != row or cell.ceiling or isinstance(of, str) or cell.seed not in of.random:
            continue
        score = normalised(outcome.value(cell.seed), of.random[cell.seed], of.oracle[cell.seed])
        found.setdefault(cell.shop, []).append(score)
    return {shop: np.array(runs) for shop, runs in found.items()}


def _row(
    row: str, outcomes: list[Outcome], scores: Mapping[str, Scores], compare_with: str
) -> dict[str, Any]:
    planned = [o for o in outcomes if o.cell.agent == row and not o.cell.ceiling]
    done = [outcome for outcome in planned if outcome.state == DONE]
    of, other = scores[row], scores.get(compare_with, {})
    undefined = Estimate(None, None, None)
    trained = [o.result for o in done if o.result["steps"]]
    took = {key: [o.result[key] for o in done] for key in ("seconds", "cpu_seconds")}
    values: dict[str, list[float]] = {}
    for outcome in done:
        values.setdefault(outcome.cell.shop, []).append(outcome.value(outcome.cell.seed))
    return {
        "agent": row,
        "kind": planned[0].cell.kind,
        "action": planned[0].cell.action(),
        "score": (interquartile(of) if of else undefined).as_dict(),
        "better": (better(of, other) if of and row != compare_with else undefined).as_dict(),
        "scores": {shop: runs.tolist() for shop, runs in of.items()},
        "revenue_per_session": {shop: float(np.mean(runs)) for shop, runs in values.items()},
        "training_seconds": float(np.mean(took["seconds"])) if done else None,
        "training_cpu_seconds": float(np.mean(took["cpu_seconds"])) if done else None,
        "steps_per_second": _rate(trained, "seconds"),
        "steps_per_cpu_second": _rate(trained, "cpu_seconds"),
        "cells": len(done),
        "planned": len(planned),
    }


def _rate(trained: list[Mapping[str, Any]], seconds: str) -> float | None:
    """Environment steps a second, over all cells that trained."""
    if not trained:
        return None
    return float(sum(r["steps"] for r in trained) / sum(r[seconds] for r in trained))


def _shop(shop: str, found: Bounds | str, done: list[Outcome]) -> dict[str, Any]:
    candidates = {
        o.cell.agent: o.value(CEILING_SEED) for o in done if o.cell.shop == shop and o.cell.ceiling
    }
    if isinstance(found, str):
        return {"no_score": found, "candidates": candidates}
    return {
        "random": float(np.mean(list(found.random.values()))),
        "oracle": float(np.mean(list(found.oracle.values()))),
        "oracle_is": found.said,
        "candidates": candidates,  # revenue a session on the shoppers that chose among them
    }
