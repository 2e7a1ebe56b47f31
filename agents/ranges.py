"""A value's range over assumptions that a log cannot decide between: the worst case first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from agents.cases import Case
from agents.valuing import Played
from recgym.metrics import Estimate

Runs = dict[str, Played]


def spread(
    values: Sequence[tuple[Case, float | None]],
    estimate: Callable[[Runs], Estimate] | None = None,
    *,
    high_is_bad: bool = False,
) -> dict[str, Any]:
    """``range`` of a value over the cases, to stand beside its estimate; nothing without cases.

    Args:
        values: of each case.
        estimate: the value with its interval, which the worst case is then given with.
        high_is_bad: whether the highest value is the worst.
    """
    if not values:
        return {}
    known = [(case, value) for case, value in values if value is not None]
    if not known:
        return {"range": None}
    known.sort(key=lambda pair: pair[1], reverse=high_is_bad)
    (case, worst), (_, best) = known[0], known[-1]
    worst_case: dict[str, Any] = {"rho": case.rho, "seed": case.seed}
    if estimate is not None:
        interval = estimate(case.runs)
        worst_case |= {"low": interval.low, "high": interval.high}
    by_rho = {
        f"{rho:g}": float(np.mean([value for other, value in known if other.rho == rho]))
        for rho in sorted({other.rho for other, _ in known})
    }
    found = {"worst": worst, "best": best, "worst_case": worst_case, "mean_by_rho": by_rho}
    return {"range": found}


def described(cases: Sequence[Case]) -> dict[str, Any]:
    """Which assumptions a summary's ranges go over."""
    base, others = cases[0], cases[1:]
    return {
        "base": {"rho": base.rho, "seed": base.seed, "sessions": _sessions(base)},
        "rho": sorted({case.rho for case in cases}),
        "seeds": sorted({case.seed for case in cases}),
        "shops": len(cases),
        "sessions": _sessions(others[0]) if others else _sessions(base),
    }


def _sessions(case: Case) -> int:
    return len(next(iter(case.runs.values())).stats.shopper)
