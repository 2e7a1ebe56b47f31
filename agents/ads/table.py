"""The tables of ad policies and what is said below them, as text."""

from __future__ import annotations

from typing import Any

from agents.ads.front import WORST
from agents.ads.spans import spans_table
from agents.ads.valuing import FIXED
from agents.ads.verdict import AD_REVENUE, EARNED, NET
from agents.table import aligned, cell

COLUMNS = (
    ("ad revenue/session", AD_REVENUE, "{:.4f}"),
    ("RPM", "rpm", "{:.2f}"),
    ("ad load", "ad_load", "{:.1%}"),
    ("sales/session", "revenue_per_session", "{:.3f}"),
    ("conversion", "conversion_rate", "{:.2%}"),
    ("leave rate", "leave_rate", "{:.2%}"),
    ("net ad revenue", NET, "{:+.4f}"),
    ("earned/shopper", EARNED, "{:.4f}"),
)
WITHOUT_INTERVAL = ("rpm", "ad_load", "conversion_rate", "leave_rate")  # it would be too wide


def ad_table(summary: dict[str, Any]) -> str:
    """A table for each shop, a row a policy; money with its 95 % interval.

    Where shoppers come back another one for each, of the first session and of what follows.
    """
    shops = list(summary["differences"])
    tables = [_table(summary, shop) for shop in shops]
    if "spans" in summary:
        tables += [spans_table(summary["spans"], shop) for shop in shops]
    return "\n\n".join(tables)


def _table(summary: dict[str, Any], shop: str) -> str:
    columns = list(COLUMNS)
    if summary["num_sessions"] > 1:
        columns.append(("back in 7 days", "return_7_day", "{:.1%}"))
    head = [f"{shop} shop", *(title for title, _, _ in columns), f"ad revenue above {FIXED}"]
    rows = [head]
    for name, shops in summary["policies"].items():
        row = [name]
        for _, metric, form in columns:
            estimate = dict(shops[shop][metric])
            if metric in WITHOUT_INTERVAL:
                estimate |= {"low": None, "high": None}
            row.append(cell(estimate, form))
        gain = summary["differences"][shop].get(name, {}).get(AD_REVENUE)
        rows.append([*row, cell(gain, "{:+.4f}")])
    return "\n".join(aligned(rows))


def verdict_lines(summary: dict[str, Any]) -> list[str]:
    """How the agent does beside fixed slots, and how far the learned shop is right."""
    agent, lines = summary["agent"], []
    shop = "true" if "true" in summary["differences"] else "learned"
    gain = summary["differences"][shop].get(agent, {}).get(AD_REVENUE)
    base = summary["policies"][FIXED][shop][AD_REVENUE]["mean"]
    if gain is not None and gain["mean"] is not None and base:
        shares = {k: None if v is None else v / base for k, v in gain.items()}
        load = summary["policies"][agent][shop]["ad_load"]["mean"]
        lines.append(
            f"{agent} earns {cell(shares, '{:+.1%}')} of ad revenue above {FIXED} in the {shop} "
            f"shop, at an ad load of {load:.1%} (cap {summary['load_cap']:.1%})"
        )
    met = summary["hindsight"][shop]
    if met["share"] is not None:
        lines.append(
            f"its choices were expected to pay {met['share']:.0%} of what hindsight could have "
            "had from the same requests at the cap"
        )
    front = summary["front"][shop]
    lines.append(
        f"front of ad revenue and satisfaction: {', '.join(front['policies'])}; hypervolume "
        f"{front['hypervolume']:.3g} above no ad revenue at the satisfaction under {WORST}"
    )
    if shop == "learned":
        return [
            *lines,
            "the true shop is unknown: all values are the learned shop's own claims, and an A/B "
            "test alone can confirm them",
        ]

    def said(key: str, form: str) -> str:
        return "-" if summary[key] is None else form.format(summary[key])

    return [
        *lines,
        f"exploitation gap of {agent}: {said('exploitation_gap', '{:+.1%}')} on ad revenue; "
        f"Kendall tau, learned against true ranking by what is earned: "
        f"{said('kendall_tau', '{:.2f}')}",
    ]
