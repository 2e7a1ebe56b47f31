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
ROUNDING = 1e-5  # of revenue: what sums of float32 leave of a difference that is none
REVENUE, INCREMENTAL = "revenue_per_session", "incremental_revenue_per_session"
VALUES = (*REPORTED, INCREMENTAL, "coverage")  # of a policy in a shop

UNKNOWN = ("kendall_tau", "exploitation_gap", "exploitation_gap_revenue", "regret",
           "headroom", "headroom_share")  # fmt: skip
OF_THE_LEARNED = {  # whether a high value is the bad one
    "kendall_tau": False,
    "exploitation_gap": True,
    "exploitation_gap_revenue": True,
    "regret": True,
}


def summarise(
    played: dict[str, dict[str, Played]], agent: str, seed: int, cases: Sequence[Case] = ()
) -> dict[str, Any]:
    """Values, paired differences and what they say of the learned shop; undefined is None.

    Args:
        played: shop, then policy, then what it did.
        agent: name of the policy that was trained.
        seed: of the bootstrap.
        cases: where showing is assumed, all that `agents.cases.play_range` played; each estimate
            of the learned shop then holds its ``range`` too.
    """
    over = {"learned": cases}
    shops = {shop: _values(runs, seed, over.get(shop, ())) for shop, runs in played.items()}
    names = list(dict.fromkeys(name for runs in played.values() for name in runs))
    order = ["learned", *(["scored"] if "scored" in played else []), "true"]
    policies = {name: {shop: shops.get(shop, {}).get(name) for shop in order} for name in names}
    differences = {
        shop: _differences(runs, seed, over.get(shop, ())) for shop, runs in played.items()
    }
    summary: dict[str, Any] = {"policies": policies, "differences": differences}
    if "scored" in played:
        summary["cross_scored"] = cross_scored(played["learned"], played["scored"], agent, seed)
    if cases:
        summary["assumed"] = described(cases)
    if "true" not in played:
        return {**summary, **dict.fromkeys(UNKNOWN)}
    if cases:
        summary["assumed"]["verdict"] = _ranged_verdict(cases, shops["true"], agent)
    return {**summary, **_verdict(shops, agent)}


def _values(runs: Runs, seed: int, cases: Sequence[Case]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, run in runs.items():
        row: dict[str, Any] = {}
        for m in REPORTED:
            row[m] = metrics.estimate(run.stats, m, seed).as_dict()
            row[m] |= spread([(case, metrics.mean(case.runs[name].stats, m)) for case in cases])
        row[INCREMENTAL] = _lift(runs, name, "nothing", REVENUE, seed, cases)
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


def _differences(runs: Runs, seed: int, cases: Sequence[Case]) -> dict[str, Any]:
    """Metric of A minus that of B on the same shoppers, for every pair A after B in the table."""
    result: dict[str, Any] = {}
    names = list(runs)
    for position, a in enumerate(names):
        for b in names[:position]:
            pair = {
                m: _lift(runs, a, b, m, seed, cases)
                for m in ("conversion_rate", "revenue_per_session")
            }
            # both stand above the same policy of empty pages, which cancels
            pair[INCREMENTAL] = pair["revenue_per_session"]
            result.setdefault(a, {})[b] = pair
    return result


def _ranged_verdict(
    cases: Sequence[Case], true: dict[str, Any], agent: str
) -> dict[str, dict[str, Any] | None]:
    """Range of what the verdict says of the learned shop, were each case's shop the learned one."""
    said = [(case, _verdict({"learned": _means(case.runs), "true": true}, agent)) for case in cases]
    return {
        key: spread([(case, row[key]) for case, row in said], high_is_bad=bad)["range"]
        for key, bad in OF_THE_LEARNED.items()
    }


def _means(runs: Runs) -> dict[str, Any]:
    mean = {name: metrics.mean(run.stats, REVENUE) or 0.0 for name, run in runs.items()}
    return {
        name: {REVENUE: {"mean": value}, INCREMENTAL: {"mean": value - mean["nothing"]}}
        for name, value in mean.items()
    }


def _verdict(shops: dict[str, dict[str, Any]], agent: str) -> dict[str, float | None]:
    """Does the learned shop rank as the truth does, and does it overstate?"""

    def mean(shop: str, name: str, metric: str) -> float:
        return float(shops[shop][name][metric]["mean"])

    names = [name for name in shops["learned"] if name in shops["true"]]
    least = ROUNDING * mean("true", "nothing", "revenue_per_session")
    claimed = [mean("learned", name, INCREMENTAL) for name in names]
    truth = [_but_rounding(mean("true", name, INCREMENTAL), least) for name in names]
    pick = truth[claimed.index(max(claimed))]
    oracle = mean("true", "oracle", "revenue_per_session")
    logging = mean("true", "logging", "revenue_per_session") if "logging" in shops["true"] else None
    earned = mean("true", agent, "revenue_per_session")
    room = _but_rounding(oracle - logging, least) if logging else 0.0

    def gap(metric: str, shop: str = "learned") -> float | None:
        true = _but_rounding(mean("true", agent, metric), least)
        return mean(shop, agent, metric) / true - 1.0 if true > 0 else None

    scored = {"exploitation_gap_scored": gap(INCREMENTAL, "scored")} if "scored" in shops else {}
    return {
        **scored,
        "kendall_tau": metrics.kendall_tau(claimed, truth),
        "regret": (max(truth) - pick) / max(truth) if max(truth) > 0 else None,
        "exploitation_gap": gap(INCREMENTAL),
        "exploitation_gap_revenue": gap("revenue_per_session"),
        "headroom": room / logging if logging else None,
        "headroom_share": (earned - logging) / room if logging and room else None,
    }


def _but_rounding(difference: float, least: float) -> float:
    """A difference of two sums; 0 where nothing but their rounding is left."""
    return difference if abs(difference) > least else 0.0
