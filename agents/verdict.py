"""What the runs of policies say: values, paired differences, and how far the learned shop is right.

Pure functions of what `agents.valuing` played.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agents.cases import Case
from agents.ranges import Runs, described, spread
from agents.scoring import cross_scored
from agents.valuing import Played
from recgym import metrics

REPORTED = (
    "conversion_rate",
    "revenue_per_session",
    "click_through_rate",
    "session_length",
    "average_order_value",
    "cart_rate",
)
OF_SHOPPERS = ("revenue_per_shopper", "sessions_per_shopper")  # where more than one is played
ROUNDING = 1e-5  # of revenue: what sums of float32 leave of a difference that is none

UNKNOWN = ("kendall_tau", "exploitation_gap", "exploitation_gap_revenue", "regret",
           "headroom", "headroom_share")  # fmt: skip
OF_THE_LEARNED = {  # whether a high value is the bad one
    "kendall_tau": False,
    "exploitation_gap": True,
    "exploitation_gap_revenue": True,
    "regret": True,
}


def values(num_sessions: int) -> tuple[str, ...]:
    """Names of what a policy is given in a shop."""
    return *_reported(num_sessions), metrics.money(num_sessions)[1], "coverage"


def _reported(num_sessions: int) -> tuple[str, ...]:
    return REPORTED if num_sessions == 1 else (*REPORTED, *OF_SHOPPERS)


def summarise(
    played: dict[str, dict[str, Played]],
    agent: str,
    seed: int,
    cases: Sequence[Case] = (),
    num_sessions: int = 1,
) -> dict[str, Any]:
    """Values, paired differences and what they say of the learned shop; undefined is None.

    Args:
        played: shop, then policy, then what it did.
        agent: name of the policy that was trained.
        seed: of the bootstrap.
        cases: where showing is assumed, all that `agents.cases.play_range` played; each estimate
            of the learned shop then holds its ``range`` too.
        num_sessions: of a shopper at most: above 1, policies are ranked by money a shopper.
    """
    over = {"learned": cases}
    shops = {
        shop: _values(runs, seed, over.get(shop, ()), num_sessions) for shop, runs in played.items()
    }
    names = list(dict.fromkeys(name for runs in played.values() for name in runs))
    order = ["learned", *(["scored"] if "scored" in played else []), "true"]
    policies = {name: {shop: shops.get(shop, {}).get(name) for shop in order} for name in names}
    differences = {
        shop: _differences(runs, seed, over.get(shop, ()), num_sessions)
        for shop, runs in played.items()
    }
    summary: dict[str, Any] = {
        "num_sessions": num_sessions, "policies": policies, "differences": differences,
    }  # fmt: skip
    if "scored" in played:
        summary["cross_scored"] = cross_scored(played["learned"], played["scored"], agent, seed)
    if cases:
        summary["assumed"] = described(cases)
    if "true" not in played:
        return {**summary, **dict.fromkeys(UNKNOWN)}
    if cases:
        summary["assumed"]["verdict"] = _ranged_verdict(cases, shops["true"], agent, num_sessions)
    return {**summary, **_verdict(shops, agent, num_sessions)}


def _values(runs: Runs, seed: int, cases: Sequence[Case], num_sessions: int) -> dict[str, Any]:
    values: dict[str, Any] = {}
    revenue, incremental = metrics.money(num_sessions)
    for name, run in runs.items():
        row: dict[str, Any] = {}
        for m in _reported(num_sessions):
            row[m] = metrics.estimate(run.stats, m, seed).as_dict()
            row[m] |= spread([(case, metrics.mean(case.runs[name].stats, m)) for case in cases])
        row[incremental] = _lift(runs, name, "nothing", revenue, seed, cases)
        row["coverage"] = metrics.Estimate(run.coverage, None, None).as_dict()
        values[name] = row
    return values


def _lift(
    runs: Runs, a: str, b: str, metric: str, seed: int, cases: Sequence[Case]
) -> dict[str, Any]:
    """Metric of A minus that of B on the same shoppers, with its range over the cases."""

    def estimate(runs: Runs) -> metrics.Estimate:
        return metrics.difference(runs[a].stats, runs[b].stats, metric, seed)

    def gain(runs: Runs) -> float | None:
        first, second = (metrics.mean(runs[name].stats, metric) for name in (a, b))
        return None if first is None or second is None else first - second

    values = [(case, gain(case.runs)) for case in cases]
    return {**estimate(runs).as_dict(), **spread(values, estimate)}


def _differences(runs: Runs, seed: int, cases: Sequence[Case], num_sessions: int) -> dict[str, Any]:
    """Metric of A minus that of B on the same shoppers, for every pair A after B in the table."""
    revenue, incremental = metrics.money(num_sessions)
    result: dict[str, Any] = {}
    names = list(runs)
    for position, a in enumerate(names):
        for b in names[:position]:
            pair = {m: _lift(runs, a, b, m, seed, cases) for m in ("conversion_rate", revenue)}
            # both stand above the same policy of empty pages, which cancels
            pair[incremental] = pair[revenue]
            result.setdefault(a, {})[b] = pair
    return result


def _ranged_verdict(
    cases: Sequence[Case], true: dict[str, Any], agent: str, num_sessions: int
) -> dict[str, dict[str, Any] | None]:
    """Range of what the verdict says of the learned shop, were each case's shop the learned one."""
    said = []
    for case in cases:
        shops = {"learned": _means(case.runs, num_sessions), "true": true}
        said.append((case, _verdict(shops, agent, num_sessions)))
    return {
        key: spread([(case, row[key]) for case, row in said], high_is_bad=bad)["range"]
        for key, bad in OF_THE_LEARNED.items()
    }


def _means(runs: Runs, num_sessions: int) -> dict[str, Any]:
    revenue, incremental = metrics.money(num_sessions)
    mean = {name: metrics.mean(run.stats, revenue) or 0.0 for name, run in runs.items()}
    return {
        name: {revenue: {"mean": value}, incremental: {"mean": value - mean["nothing"]}}
        for name, value in mean.items()
    }


def _verdict(
    shops: dict[str, dict[str, Any]], agent: str, num_sessions: int
) -> dict[str, float | None]:
    """Does the learned shop rank as the truth does, and does it overstate?"""
    revenue, incremental = metrics.money(num_sessions)

    def mean(shop: str, name: str, metric: str) -> float:
        return float(shops[shop][name][metric]["mean"])

    names = [name for name in shops["learned"] if name in shops["true"]]
    least = ROUNDING * mean("true", "nothing", revenue)
    claimed = [mean("learned", name, incremental) for name in names]
    truth = [_but_rounding(mean("true", name, incremental), least) for name in names]
    pick = truth[claimed.index(max(claimed))]
    oracle = mean("true", "oracle", revenue)
    logging = mean("true", "logging", revenue) if "logging" in shops["true"] else None
    earned = mean("true", agent, revenue)
    room = _but_rounding(oracle - logging, least) if logging else 0.0

    def gap(metric: str, shop: str = "learned") -> float | None:
        true = _but_rounding(mean("true", agent, metric), least)
        return mean(shop, agent, metric) / true - 1.0 if true > 0 else None

    scored = {"exploitation_gap_scored": gap(incremental, "scored")} if "scored" in shops else {}
    return {
        **scored,
        "kendall_tau": metrics.kendall_tau(claimed, truth),
        "regret": (max(truth) - pick) / max(truth) if max(truth) > 0 else None,
        "exploitation_gap": gap(incremental),
        "exploitation_gap_revenue": gap(revenue),
        "headroom": room / logging if logging else None,
        "headroom_share": (earned - logging) / room if logging and room else None,
    }


def _but_rounding(difference: float, least: float) -> float:
    """A difference of two sums; 0 where nothing but their rounding is left."""
    return difference if abs(difference) > least else 0.0
