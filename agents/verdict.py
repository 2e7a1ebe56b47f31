"""What the runs of policies say: values, paired differences, and how far the learned shop is right.

Pure functions of what `agents.valuing` played.
"""

from __future__ import annotations

from typing import Any

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
INCREMENTAL = "incremental_revenue_per_session"


def summarise(played: dict[str, dict[str, Played]], agent: str, seed: int) -> dict[str, Any]:
    """Values, paired differences and what they say of the learned shop; undefined is None."""
    shops = {shop: _values(runs, seed) for shop, runs in played.items()}
    names = list(dict.fromkeys(name for runs in played.values() for name in runs))
    policies = {
        name: {shop: shops.get(shop, {}).get(name) for shop in ("learned", "true")}
        for name in names
    }
    summary: dict[str, Any] = {
        "policies": policies,
        "differences": {shop: _differences(runs, seed) for shop, runs in played.items()},
    }
    if "true" not in played:
        nothing = ("kendall_tau", "exploitation_gap", "exploitation_gap_revenue", "regret",
                   "headroom", "headroom_share")  # fmt: skip
        return {**summary, **dict.fromkeys(nothing)}
    return {**summary, **_verdict(shops, agent)}


def _values(runs: dict[str, Played], seed: int) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, run in runs.items():
        row: dict[str, Any] = {m: metrics.estimate(run.stats, m, seed).as_dict() for m in REPORTED}
        gain = metrics.incremental_revenue(run.stats, runs["nothing"].stats, seed)
        row[INCREMENTAL] = gain.as_dict()
        row["coverage"] = metrics.Estimate(run.coverage, None, None).as_dict()
        values[name] = row
    return values


def _differences(runs: dict[str, Played], seed: int) -> dict[str, Any]:
    """Metric of A minus that of B on the same shoppers, for every pair A after B in the table."""
    result: dict[str, Any] = {}
    names = list(runs)
    for position, a in enumerate(names):
        for b in names[:position]:
            pair = {
                m: metrics.difference(runs[a].stats, runs[b].stats, m, seed).as_dict()
                for m in ("conversion_rate", "revenue_per_session")
            }
            # both stand above the same policy of empty pages, which cancels
            pair[INCREMENTAL] = pair["revenue_per_session"]
            result.setdefault(a, {})[b] = pair
    return result


def _verdict(shops: dict[str, dict[str, Any]], agent: str) -> dict[str, float | None]:
    """Does the learned shop rank as the truth does, and does it overstate?"""

    def mean(shop: str, name: str, metric: str) -> float:
        return float(shops[shop][name][metric]["mean"])

    names = [name for name in shops["learned"] if name in shops["true"]]
    claimed = [mean("learned", name, INCREMENTAL) for name in names]
    truth = [mean("true", name, INCREMENTAL) for name in names]
    pick = truth[claimed.index(max(claimed))]
    oracle = mean("true", "oracle", "revenue_per_session")
    logging = mean("true", "logging", "revenue_per_session") if "logging" in shops["true"] else None
    earned = mean("true", agent, "revenue_per_session")

    def gap(metric: str) -> float | None:
        true = mean("true", agent, metric)
        return mean("learned", agent, metric) / true - 1.0 if true > 0 else None

    return {
        "kendall_tau": metrics.kendall_tau(claimed, truth),
        "regret": (max(truth) - pick) / max(truth) if max(truth) > 0 else None,
        "exploitation_gap": gap(INCREMENTAL),
        "exploitation_gap_revenue": gap("revenue_per_session"),
        "headroom": oracle / logging - 1.0 if logging else None,
        "headroom_share": (earned - logging) / (oracle - logging) if logging else None,
    }
