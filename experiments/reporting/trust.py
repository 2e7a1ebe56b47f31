"""What the answers rest on, and what speaks against believing them."""

from __future__ import annotations

from typing import Any

from experiments.reporting.arenas import AGENT
from experiments.reporting.findings import Findings
from experiments.reporting.sampling import RESAMPLES


def assumed(found: Findings) -> list[str]:
    """What the answers rest on, a sentence each."""
    first, lines = found.arena.runs[0].summary, []
    lines += [_log_line(first["log"]), _fit_line(first["user_model"])]
    said = first["user_model"].get("assumptions")
    if said:
        lines.append(f"The log does not say what was shown, so it is assumed: {said['sentence']}")
    law = first.get("ad_law")
    if law:
        fitted = ", ".join(sorted(law["fitted"])) or "nothing"
        lines.append(
            f"What ads do to shoppers: fitted on the log {fitted}; assumed "
            f"{', '.join(law['assumed']) or 'nothing'}."
        )
    if "true" not in found.arena.shops:
        lines.append(
            "The true shop is unknown: every value is the learned shop's own claim, and an A/B "
            "test alone can confirm it."
        )
    if any(one.name == "oracle" for one in found.standings):
        lines.append(
            "oracle sees the true shop's own probabilities: a myopic ceiling that no site can "
            "deploy, left out of probabilities and tests."
        )
    lines.append(
        f"Intervals and probabilities: {RESAMPLES:,} resamples of training seeds first and then of "
        "shoppers. P values: Student's t with the degrees of freedom that the seeds leave. The "
        "best of many is a little flattered by having been chosen."
    )
    if {"reward", "pessimism"} & {
        key for one in found.standings for key, _ in one.candidate.values
    }:
        lines.append(
            "Candidates were trained on different rewards: their learning curves are in different "
            "units."
        )
    single = [one.name for one in found.standings
              if one.candidate.kind == AGENT and len(one.candidate.seeds) == 1]  # fmt: skip
    if single:
        lines.append(
            f"{', '.join(single)}: one training seed, so that the intervals know of shoppers alone."
        )
    if not found.arena.paired:
        lines.append(
            "Pairs are missing: not every run kept its shoppers' numbers (stats.npz) of the same "
            "shoppers, so values are compared by their intervals, which are wider than need be."
        )
    return lines


def alarms(found: Findings) -> list[str]:
    """What speaks against believing the numbers."""
    lines = []
    for run in found.arena.runs:
        scored = run.summary.get("cross_scored")
        where = f"{run.agent} (run {run.name})"
        if scored and scored["alarm"]:
            lines.append(
                f"Exploitation alarm: the claim of {where} does not hold where it was not trained; "
                "trust the scored value."
            )
        if scored and not scored["reliable"]:
            lines.append(
                f"No reliable lift in run {run.name}: the best policy, {scored['best']}, is not "
                "clearly above 1 % of what empty pages earn."
            )
    check = found.arena.runs[0].summary["user_model"].get("on_policy", {})
    if check.get("confounded"):
        lines.append(str(check["confounded"]))
    revenue = check.get("revenue_per_session")
    if isinstance(revenue, dict) and revenue["error"] is not None:
        floor, error = revenue["noise_floor"], revenue["error"]
        ours, theirs = revenue["simulated"], revenue["reference"]
        apart = ours["low"] > theirs["high"] or ours["high"] < theirs["low"]
        if apart or (floor is not None and abs(error) > floor):
            lines.append(
                f"On-policy check: under the logging policy the learned shop's revenue is "
                f"{error:+.0%} off the {check['reference']}, more than chance."
            )
    return lines


def _log_line(log: dict[str, Any]) -> str:
    parts = [f"Log: {log.get('source', log.get('name', 'a log'))}"]
    for key, what in (("sessions", "sessions"), ("shoppers", "shoppers"), ("items", "items")):
        if isinstance(log.get(key), int):
            parts.append(f"{log[key]:,} {what}")
    if log.get("first_day"):
        parts.append(f"{log['first_day']} to {log.get('last_day')}")
    return ", ".join(parts) + "."


def _fit_line(fit: dict[str, Any]) -> str:
    said = f"User model: {fit['name']}"
    own, popular = fit.get("nll_next_view"), fit.get("popularity_nll_next_view")
    if own is not None and popular is not None:
        said += f"; NLL of the next view {own:.3f} (popularity {popular:.3f})"
    if fit.get("recall_at_20") is not None:
        said += f", Recall@20 {fit['recall_at_20']:.3f}"
    return said + "."


def on_policy_rows(found: Findings) -> list[list[str]]:
    """The on-policy check as a table."""
    check = found.arena.runs[0].summary["user_model"].get("on_policy", {})
    rows = []
    for name, row in check.items():
        if isinstance(row, dict) and row.get("error") is not None:
            floor = row["noise_floor"]
            ours, theirs = row["simulated"]["mean"], row["reference"]["mean"]
            known = "-" if floor is None else f"{floor:.1%}"
            rows.append([name, f"{ours:.4f}", f"{theirs:.4f}", f"{row['error']:+.1%}", known])
    return rows


def trust_rows(found: Findings) -> list[list[str]]:
    """How far the learned shop was right about each trained policy, where the truth is known."""
    rows = []
    for run in found.arena.runs:
        summary = run.summary
        if summary.get("kendall_tau") is None and summary.get("exploitation_gap") is None:
            continue
        said = [
            "-" if summary.get(key) is None else form.format(summary[key])
            for key, form in (
                ("exploitation_gap", "{:+.0%}"),
                ("kendall_tau", "{:.2f}"),
                ("regret", "{:.0%}"),
                ("headroom_share", "{:.0%}"),
            )
        ]
        rows.append([f"{run.agent} (run {run.name})", *said])
    return rows
