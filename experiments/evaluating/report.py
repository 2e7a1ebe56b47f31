"""The experiment's figures as Markdown."""

from __future__ import annotations

from typing import Any


def bandit_table(found: dict[str, Any]) -> str:
    """What each log of the Open Bandit Dataset says of the other policy."""
    lines = ["| clicks an item shown | value | 95 % interval | width |", "|---|---|---|---|"]
    notes = []
    for title, one in found.items():
        if title == "rows":
            continue
        lines.append(_bandit_row(f"**{title.split(' from ')[0]}, its own log**", one["own"]))
        lines += [
            _bandit_row(f"{title}: {name}", estimate) for name, estimate in one["estimates"].items()
        ]
        notes.append(_overlap(title, one["overlap"]))
    return "\n".join([*lines, "", *notes])


def _bandit_row(title: str, estimate: dict[str, float | None]) -> str:
    if estimate["mean"] is None or estimate["low"] is None or estimate["high"] is None:
        return f"| {title} | - | - | - |"
    low, high = estimate["low"], estimate["high"]
    return f"| {title} | {estimate['mean']:.4f} | {low:.4f} to {high:.4f} | {high - low:.4f} |"


def _overlap(title: str, overlap: dict[str, Any]) -> str:
    said = overlap["warning"] or "overlap is large enough."
    return (
        f"{title}: effective sample size {overlap['effective']:,.0f} of {overlap['sessions']:,}, "
        f"mean weight {overlap['mean_weight']:.2f}; {said}"
    )


def shop_table(name: str, found: dict[str, Any]) -> str:
    """How well each estimator values and ranks the policies of one shop."""
    sizes = sorted(one["overlap"]["effective"] for one in found["policies"].values())
    alarms = sum(one["overlap"]["warning"] is not None for one in found["policies"].values())
    log = found["log"]
    lines = [
        f"Shop {name}: {len(sizes)} policies from a log of {log['sessions']:,} sessions and "
        f"{log['pages']:,} pages; effective sample size {sizes[0]:,.0f} to {sizes[-1]:,.0f}, "
        f"middle {sizes[len(sizes) // 2]:,.0f}; {alarms} warned of.",
    ]
    for reward, scored in found["scores"].items():
        lines += [
            "",
            f"{reward}: best minus nothing is {scored['spread']:.4g} a session, of which policies "
            f"part over {scored['between_policies']:.0%}; played for real over as many sessions "
            f"each would have a standard error of {scored['on_policy_error']:.1%} of it.",
            "",
            "| estimator | error / spread | bias | Spearman | Kendall | coverage | width |",
            "|---|---|---|---|---|---|---|",
        ]
        for title, row in scored["estimators"].items():
            lines.append(
                f"| {title} | {row['error']:.1%} | {row['bias']:+.1%} | {row['spearman']:.2f} | "
                f"{row['kendall']:.2f} | {row['coverage']:.0%} | {row['width']:.1%} |"
            )
    return "\n".join(lines)
