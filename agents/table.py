"""The table of policies and what is said below it, as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recgym import metrics

LIFT = "{:+.3f}"


def columns(num_sessions: int) -> tuple[tuple[str, str, str], ...]:
    """Title, metric and form of what the table says of a policy in a shop; the lift last."""
    revenue, incremental = metrics.money(num_sessions)
    unit = revenue.rpartition("_")[2]
    told = [("conversion", "conversion_rate", "{:.2%}")]
    if num_sessions > 1:
        told.append(("sessions/shopper", "sessions_per_shopper", "{:.2f}"))
    return *told, (f"revenue/{unit}", revenue, "{:.3f}"), ("incremental", incremental, LIFT)


def cell(estimate: dict[str, Any] | None, form: str) -> str:
    """A value and its interval."""
    if estimate is None or estimate["mean"] is None:
        return "-"
    mean = form.format(estimate["mean"])
    if estimate["low"] is None or estimate["high"] is None:
        return mean
    low, high = form.format(estimate["low"]), form.format(estimate["high"])
    return f"{mean} [{low}, {high}]"


def over_assumptions(found: dict[str, Any] | None, form: str) -> str:
    """``(worst to best)``, empty where there is no range."""
    return f"({form.format(found['worst'])} to {form.format(found['best'])})" if found else ""


def policy_table(summary: dict[str, Any]) -> str:
    """A row a policy, a column a shop and metric; each cell with its 95 % interval.

    Where showing is assumed, each lift of the learned shop is followed by its range over the
    assumptions, and a second table gives the worst case and the means by rho.
    """
    shops = list(next(iter(summary["policies"].values())))
    told = columns(summary["num_sessions"])
    lift = told[-1][1]
    head = ["policy", *(f"{shop}: {title}" for shop in shops for title, _, _ in told)]
    if "assumed" in summary:
        head[len(told)] += " (worst to best)"
    rows = [head]
    for name, values in summary["policies"].items():
        row = [name]
        for shop in shops:
            for _, metric, form in told:
                estimate = (values[shop] or {}).get(metric)
                text = cell(estimate, form)
                if estimate and metric == lift:
                    text = f"{text} {over_assumptions(estimate.get('range'), form)}".strip()
                row.append(text)
        rows.append(row)
    return "\n".join([*aligned(rows), *_range_lines(summary)])


def _range_lines(summary: dict[str, Any]) -> list[str]:
    """The learned shop's lifts by assumption."""
    if "assumed" not in summary:
        return []
    found, incremental = summary["assumed"], metrics.money(summary["num_sessions"])[1]
    rhos = [f"{rho:g}" for rho in found["rho"]]
    rows = [
        ["policy", "(worst to best)", "worst case", "", *(f"mean at rho {rho}" for rho in rhos)]
    ]
    for name, values in summary["policies"].items():
        lift = (values["learned"] or {}).get(incremental, {}).get("range")
        if lift:
            case, means = lift["worst_case"], lift["mean_by_rho"]
            worst = cell({"mean": lift["worst"], **case}, LIFT)
            where = f"at rho {case['rho']:g}, seed {case['seed']}"
            ends = over_assumptions(lift, LIFT)
            rows.append([name, ends, worst, where, *(LIFT.format(means[rho]) for rho in rhos)])
    base = found["base"]
    wider = ", so that intervals are wider than above" * (found["sessions"] < base["sessions"])
    return [
        "",
        f"incremental revenue in the {found['shops']} shops that the assumptions allow: rho "
        f"{', '.join(rhos)} and seeds {', '.join(map(str, found['seeds']))};",
        f"{found['sessions']:,} sessions a shop and policy ({base['sessions']:,} in that of rho "
        f"{base['rho']:g}, seed {base['seed']}, in which the policies were made){wider}",
        *aligned(rows),
    ]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines, a rule below the first."""
    width = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(text.ljust(w) for text, w in zip(row, width, strict=True)) for row in rows]
    lines.insert(1, "  ".join("-" * w for w in width))
    return [line.rstrip() for line in lines]


def verdict_lines(summary: dict[str, Any]) -> list[str]:
    """How far the learned shop is right, where the true one is known."""
    agent, found = summary["agent"], summary.get("assumed", {}).get("verdict", {})
    scored = _scoring_lines(summary)
    if "oracle" not in summary["policies"]:
        return [
            *scored,
            "the true shop is unknown: all values are the learned shop's own claims, and an A/B "
            "test alone can confirm them",
        ]

    def said(key: str, form: str) -> str:
        value = "-" if summary[key] is None else form.format(summary[key])
        return f"{value} {over_assumptions(found.get(key), form)}".strip()

    lines = [
        *scored,
        f"exploitation gap of {agent}: {said('exploitation_gap', '{:+.1%}')} on incremental "
        f"revenue, {said('exploitation_gap_revenue', '{:+.1%}')} on revenue",
    ]
    if summary["headroom"] is not None:
        lines.append(
            f"headroom (oracle over logging policy): {summary['headroom']:+.1%}; "
            f"{agent} earns {said('headroom_share', '{:.0%}')} of it"
        )
    tau = said("kendall_tau", "{:.2f}")
    return [*lines, f"Kendall tau, learned against true ranking: {tau}"]


def _scoring_lines(summary: dict[str, Any]) -> list[str]:
    """What the members say that the agent was not trained in."""
    found = summary.get("cross_scored")
    if not found:
        return []
    agent, best = summary["agent"], found["best"]
    lift = found["lift"]
    lines = [
        f"{agent} claims {cell(found['claim'], LIFT)} where it was trained; members that it never "
        f"met give {cell(lift[agent], LIFT)}, the interval over members and sessions",
    ]
    if found["alarm"]:
        lines.append(
            f"ALARM: the claim of {agent} does not hold where it was not trained: it is "
            f"{cell(found['apart'], LIFT)} too high; trust the scored value"
        )
    if not found["reliable"]:
        lines.append(
            f"no reliable lift: the best policy, {best}, adds {cell(lift[best], LIFT)} over the "
            "members, which is not clearly above 1 % of what empty pages earn"
        )
    return lines
