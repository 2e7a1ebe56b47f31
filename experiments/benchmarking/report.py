"""The table and the plot of ``python -m experiments.benchmark``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from recgym.files import beside

FAINT = "#808890"  # readable on white and on black
DASHES = ("-", "--", ":", "-.")
COLOURS = 8  # of a cycle; then the dashes change


def table(content: dict[str, Any]) -> str:
    """One row an agent, the best first, losers included."""
    shops = list(content["shops"])
    titles = [
        "agent",
        "its action",
        "score, IQM",
        f"P(better than {content['compare_with']})",
        *(f"revenue/session, {shop}" for shop in shops),
        "training, s (CPU)",
        "steps/s (CPU)",
        "cells",
    ]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for row in content["agents"]:
        values = row["revenue_per_session"]
        cells = [
            row["agent"],
            row["action"],
            _estimate(row["score"], "{:.2f}"),
            _estimate(row["better"], "{:.0%}"),
            *(f"{values[shop]:.2f}" if shop in values else "-" for shop in shops),
            _both(row["training_seconds"], row["training_cpu_seconds"], "{:.1f}"),
            _both(row["steps_per_second"], row["steps_per_cpu_second"], "{:,.0f}"),
            f"{row['cells']} of {row['planned']}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *notes(content)])


def _both(by_clock: float | None, of_process: float | None, form: str) -> str:
    if by_clock is None:
        return "-"
    return f"{form.format(by_clock)} ({form.format(of_process)})"


def _estimate(estimate: dict[str, Any], form: str) -> str:
    if estimate["mean"] is None:
        return "-"
    text = form.format(estimate["mean"])
    if estimate["low"] is None:
        return text
    return f"{text} [{form.format(estimate['low'])}, {form.format(estimate['high'])}]"


def notes(content: dict[str, Any]) -> list[str]:
    """What the scores are between, and whoever is missing."""
    lines = []
    for shop, found in content["shops"].items():
        if "no_score" in found:
            lines.append(f"- {shop} has no scores: {found['no_score']}.")
        else:
            lines.append(
                f"- {shop}: 0 is random items ({found['random']:.2f}), 1 the oracle "
                f"({found['oracle']:.2f}; {found['oracle_is']})."
            )
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for cell in content["not_run"]:
        key = cell["agent"], cell["state"], cell["reason"]
        reasons.setdefault(key, []).append(f"{cell['shop']} {cell['seed']}")
    for (agent, state, reason), where in reasons.items():
        lines.append(f"- {agent} {state} ({', '.join(where)}): {reason}")
    return lines


def plot(content: dict[str, Any], path: Path) -> None:
    """Performance profiles: the share of runs above each score, the best agents first."""
    settings: Any = {
        "text.color": FAINT, "axes.labelcolor": FAINT, "axes.edgecolor": FAINT,
        "xtick.color": FAINT, "ytick.color": FAINT, "font.size": 9,
    }  # fmt: skip
    profiles = dict(content["profiles"])
    thresholds = profiles.pop("thresholds")
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(7.2, 4.2), layout="constrained")
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_facecolor("none")
        for number, (agent, share) in enumerate(profiles.items()):
            colour, dash = f"C{number % COLOURS}", DASHES[number // COLOURS % len(DASHES)]
            axes.step(thresholds, share, where="post", color=colour, linestyle=dash, label=agent)
        axes.set_xlabel("normalised score: 0 random items, 1 the oracle")
        axes.set_ylabel("share of runs above it")
        if profiles:
            figure.legend(loc="outside right upper", frameon=False, fontsize="small")
        with beside(path) as place:
            figure.savefig(place, dpi=130, format="png", transparent=True)
