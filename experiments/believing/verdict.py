"""What the cells say together: measures with intervals, the table and the plot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from experiments.believing.cell import AGENT, CEILING, IN_TRUTH, KINDS
from experiments.believing.measures import (
    Bools,
    Floats,
    gap,
    kendall_tau,
    pairs_that_differ,
    regret,
    share_of,
    spread,
    value_error,
)
from experiments.believing.values import Values

RESAMPLES = 1000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Cell:
    """A cell as it was run: its result and its values in blocks."""

    result: dict[str, Any]
    values: dict[str, Values]  # true, and of each kind of user model

    @cached_property
    def counted(self) -> Bools:
        """Pairs of fixed policies that truly differ, by all sessions, [P, P]."""
        return pairs_that_differ(*differences(self.values["true"], rules_of(self.values["true"])))


def rules_of(values: Values) -> list[str]:
    """The fixed policies, by which learned shops are judged."""
    return [name for name in values.names if name.startswith("rule-")]


def measured(cell: Cell, kind: str, block_J: Any, raw: bool) -> dict[str, float | None]:
    """All measures of one user model on these blocks; on incremental revenue, or on ``raw``."""
    true, claims = (_values(cell.values[name], block_J, raw) for name in ("true", kind))
    names = rules_of(cell.values["true"])
    true_P, claim_P = (np.array([x[name] for name in names]) for x in (true, claims))
    # on raw revenue the claims are shifted by what nothing is truly worth: errors of level count
    shift = _values(cell.values["true"], block_J, True)["nothing"] if raw else 0.0
    true_P, claim_P = true_P - shift, claim_P - shift
    counted_PP = cell.counted
    found: dict[str, float | None] = {
        "kendall_tau": kendall_tau(claim_P, true_P, counted_PP),
        "regret": regret(claim_P, true_P),
        "value_error": value_error(claim_P, true_P),
        "spread": spread(true_P),
        "pairs_counted": float(counted_PP.sum()),
    }
    if kind != "lstm":
        return found
    ceiling = max(true[name] for name in (AGENT, IN_TRUTH, CEILING, "greedy") if name in true)
    logging = true.get("logging", 0.0)
    return {
        **found,
        "exploitation_gap": None,  # with the cure, which is not built yet
        "exploitation_gap_uncured": gap(claims[AGENT], true[AGENT]),
        "exploitation_gap_greedy": gap(claims["greedy"], true["greedy"]),
        "share_of_truth_trained": share_of(true[AGENT] - shift, true[IN_TRUTH] - shift),
        "headroom": share_of(ceiling - logging, _level(cell, block_J)["logging"]),
        "headroom_share": share_of(true[AGENT] - logging, ceiling - logging),
    }


def _values(values: Values, block_J: Any, raw: bool) -> dict[str, float]:
    mean_P = values.block_PJ[:, block_J].mean(1)
    base = 0.0 if raw else mean_P[values.names.index("nothing")]
    return dict(zip(values.names, (mean_P - base).tolist(), strict=True))


def _level(cell: Cell, block_J: Any) -> dict[str, float]:
    return _values(cell.values["true"], block_J, True)


def differences(values: Values, names: list[str]) -> tuple[Floats, Floats]:
    """95 % interval of the paired difference of each two policies, normal, [P, P] each."""
    block_PJ = values.block_PJ[[values.names.index(name) for name in names]]
    apart_PPJ = block_PJ[:, None] - block_PJ[None, :]
    half_PP = 1.96 * apart_PPJ.std(-1, ddof=1) / np.sqrt(block_PJ.shape[1])
    mean_PP = apart_PPJ.mean(-1)
    return mean_PP - half_PP, mean_PP + half_PP


def shop_object(cell: Cell) -> dict[str, Any]:
    """One shop and seed, as believable.json has it."""
    every = np.arange(cell.values["true"].block_PJ.shape[1])
    effects = cell.result["effects"]
    kinds = [kind for kind in cell.values if kind != "true"]
    return {
        "world": cell.result["world"],
        "seed": cell.result["seed"],
        **measured(cell, "lstm", every, raw=False),
        "elasticity_error": effects["lstm"]["elasticity_error"],
        "elasticity_error_naive": abs(
            cell.result["naive_elasticity"] - effects["true"]["elasticity"]
        ),
        "exposure_error": effects["lstm"]["exposure_error"],
        "raw_revenue": measured(cell, "lstm", every, raw=True),
        "wrong_models": {
            kind: {
                **measured(cell, kind, every, raw=False),
                "exposure_error": effects[kind]["exposure_error"],
            }
            for kind in kinds
            if kind != "lstm"
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
        "exploitation_gap": shop["exploitation_gap_uncured"],
    }


def intervals(
    cells: list[Cell], measure: Callable[[Cell, Any], dict[str, float | None]], seed: int = 0
) -> dict[str, dict[str, float | None]]:
    """Means over cells with 95 % intervals: cells are resampled first, then blocks of sessions.

    A cell is one choice of log, fit and agent seed, so that its chance is part of the interval.
    """
    generator = np.random.default_rng(seed)
    count = cells[0].values["true"].block_PJ.shape[1]
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
    found: dict[str, Any] = {"cells": len(cells), **_of_kind(cells, "lstm")}
    objects = [shop_object(cell) for cell in cells]
    for name in BY_CELL:
        found[name] = {"mean": float(np.mean([shop[name] for shop in objects]))}
    return {**found, **{kind: _of_kind(cells, kind) for kind in KINDS[1:]}}


def _of_kind(cells: list[Cell], kind: str) -> dict[str, dict[str, float | None]]:
    return intervals(cells, lambda cell, block_J: measured(cell, kind, block_J, raw=False))
