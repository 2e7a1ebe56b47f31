"""What the cells say together: measures with intervals, the table and the plot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.believing.cell import Cell, rules_of
from experiments.believing.measures import (
    gap,
    kendall_tau,
    regret,
    share_of,
    spread,
    value_error,
)
from experiments.believing.names import (
    AGENT,
    CEILING,
    CURED,
    GREEDY,
    IN_TRUTH,
    LOGGING,
    NOTHING,
    ORACLE,
    RIGHT,
    SCORED,
    TRAINED,
    TRUE,
    WRONG,
)
from experiments.values import Values

RESAMPLES = 1000
CONFIDENCE = 0.95


def measured(cell: Cell, kind: str, block_J: Any, raw: bool) -> dict[str, float | None]:
    """All measures of one learned shop on these blocks; errors of increments, or of ``raw`` values.

    A shop ranks and picks by what it claims above its own value of nothing, whichever is asked.
    """
    true, claims = (_values(cell.values[name], block_J) for name in (TRUE, kind))
    names = rules_of(cell.values[TRUE])
    true_P, claim_P = (np.array([x[name] - x[NOTHING] for name in names]) for x in (true, claims))
    # a raw claim is also off by what the shop has wrong of nothing
    level = claims[NOTHING] - true[NOTHING] if raw else 0.0
    found: dict[str, float | None] = {
        "kendall_tau": kendall_tau(claim_P, true_P, cell.counted),
        "regret": regret(claim_P, true_P),
        "value_error": value_error(claim_P + level, true_P),
        "spread": spread(true_P),
        "pairs_counted": float(cell.counted.sum()),
    }
    return {**found, **_of_the_agents(cell, true, claims, block_J, raw)} if kind == RIGHT else found


OF_THE_CURE = (  # undefined in a cell without this part
    "exploitation_gap",
    "exploitation_gap_trained",
    "exploitation_gap_scored_uncured",
    "cured_share_of_uncured",
)


def _of_the_agents(
    cell: Cell, true: dict[str, float], claims: dict[str, float], block_J: Any, raw: bool
) -> dict[str, float | None]:
    """What agents claim and earn: `AGENT` where it was trained, `CURED` where it was not."""

    def gap_of(name: str, said: dict[str, float]) -> float | None:
        base = (0.0, 0.0) if raw else (said[NOTHING], true[NOTHING])
        return gap(said[name] - base[0], true[name] - base[1])

    cured: dict[str, float | None] = dict.fromkeys(OF_THE_CURE)
    if SCORED in cell.values:
        scored, trained = (_values(cell.values[name], block_J) for name in (SCORED, TRAINED))
        cured = {
            "exploitation_gap": gap_of(CURED, scored),
            "exploitation_gap_trained": gap_of(CURED, trained),
            "exploitation_gap_scored_uncured": gap_of(AGENT, scored),
            "cured_share_of_uncured": share_of(
                true[CURED] - true[NOTHING], true[AGENT] - true[NOTHING]
            ),
        }
    nothing, logging = true[NOTHING], true[LOGGING]
    ceiling = true[CEILING] if CEILING in true else true[ORACLE]
    return {
        **cured,
        "exploitation_gap_uncured": gap_of(AGENT, claims),
        "exploitation_gap_greedy": gap_of(GREEDY, claims),
        "share_of_truth_trained": share_of(true[AGENT] - nothing, true[IN_TRUTH] - nothing)
        if IN_TRUTH in true
        else None,
        "headroom": share_of(ceiling - logging, logging),
        "headroom_share": share_of(true[AGENT] - logging, ceiling - logging),
    }


def _values(values: Values, block_J: Any) -> dict[str, float]:
    """Revenue a session of each policy on these blocks."""
    return dict(zip(values.names, values.block_PJ[:, block_J].mean(1).tolist(), strict=True))


def shop_object(cell: Cell) -> dict[str, Any]:
    """One shop and seed, as believable.json has it."""
    every = np.arange(cell.values[TRUE].block_PJ.shape[1])
    effects = cell.result["effects"]
    return {
        "world": cell.result["world"],
        "seed": cell.result["seed"],
        "model_version": cell.result.get("model_version"),
        **measured(cell, RIGHT, every, raw=False),
        "elasticity_error": effects[RIGHT]["elasticity_error"],
        "elasticity_error_naive": abs(
            cell.result["naive_elasticity"] - effects[TRUE]["elasticity"]
        ),
        "exposure_error": effects[RIGHT]["exposure_error"],
        "second_policy": cell.result["second_policy"],
        "raw_revenue": measured(cell, RIGHT, every, raw=True),
        "wrong_models": {
            kind: {
                **measured(cell, kind, every, raw=False),
                "exposure_error": effects[kind]["exposure_error"],
            }
            for kind in WRONG
            if kind in cell.values
        },
        "sessions": cell.result["sessions"],
        "page_weight": cell.result["page_weight"],
        "values": cell.result["values"],
        "seconds": cell.result["seconds"],
    }


def truth_of(cell: Cell) -> dict[str, Any]:
    """What a scorecard takes from the truth (`recgym.fidelity`)."""
    shop = shop_object(cell)
    names = ("value_error", "kendall_tau", "regret", "exposure_error", "elasticity_error")
    return {
        **{name: shop[name] for name in names},
        "exploitation_gap": shop["exploitation_gap_uncured"]
        if shop["exploitation_gap"] is None
        else shop["exploitation_gap"],
    }


def intervals(
    cells: list[Cell], measure: Callable[[Cell, Any], dict[str, float | None]], seed: int = 0
) -> dict[str, dict[str, float | None]]:
    """Means over cells with 95 % intervals: cells are resampled first, then blocks of sessions.

    A cell is one choice of log, fit and agent seed, so that its chance is part of the interval.
    """
    generator = np.random.default_rng(seed)
    count = cells[0].values[TRUE].block_PJ.shape[1]
    found = [
        [
            measure(cells[c], generator.integers(count, size=count))
            for c in generator.integers(len(cells), size=len(cells))
        ]
        for _ in range(RESAMPLES)
    ]
    whole = [measure(cell, np.arange(count)) for cell in cells]
    tail, estimates = (1.0 - CONFIDENCE) / 2.0, {}
    for name in whole[0]:
        means = [mean for sample in found if (mean := _mean(sample, name)) is not None]
        low, high = np.quantile(means, [tail, 1.0 - tail]).tolist() if means else (None, None)
        estimates[name] = {"mean": _mean(whole, name), "low": low, "high": high}
    return estimates


def _mean(rows: list[dict[str, float | None]], name: str) -> float | None:
    known = [value for row in rows if (value := row[name]) is not None]
    return float(np.mean(known)) if known else None


WELL_SPECIFIED = ("default", "wild", "bored")
BY_CELL = ("elasticity_error", "elasticity_error_naive", "exposure_error")


def summary(cells: list[Cell]) -> dict[str, Any]:
    """Means with intervals: over the well-specified shops, and of each shop."""
    groups = {"well_specified": [c for c in cells if c.result["world"] in WELL_SPECIFIED]}
    for cell in cells:
        groups.setdefault(cell.result["world"], []).append(cell)
    return {name: _group(chosen) for name, chosen in groups.items() if chosen}


def _group(cells: list[Cell]) -> dict[str, Any]:
    found: dict[str, Any] = {"cells": len(cells), **_of_kind(cells, RIGHT)}
    objects = [shop_object(cell) for cell in cells]
    for name in BY_CELL:
        found[name] = {"mean": float(np.mean([shop[name] for shop in objects]))}
    for kind in WRONG:
        if having := [cell for cell in cells if kind in cell.values]:
            found[kind] = {"cells": len(having), **_of_kind(having, kind)}
    return found


def _of_kind(cells: list[Cell], kind: str) -> dict[str, dict[str, float | None]]:
    return intervals(cells, lambda cell, block_J: measured(cell, kind, block_J, raw=False))
