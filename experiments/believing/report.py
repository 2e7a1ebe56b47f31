"""The table and the plot of ``python -m experiments.believable``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from experiments.believing.cell import Cell, rules_of
from experiments.believing.names import (
    AGENT,
    CURED,
    GREEDY,
    NOTHING,
    RIGHT,
    SCORED,
    TRUE,
    WRONG,
)
from recgym.files import beside

COLUMNS = {  # of the table: key, title, format, target
    "kendall_tau": ("tau-b", "{:.2f}", ">= 0.85"),
    "regret": ("regret", "{:.0%}", "<= 5 %"),
    "value_error": ("value error", "{:.0%}", "<= 10 %"),
    "exploitation_gap": ("gap of dqn, cured", "{:+.0%}", "<= 10 %"),
    "cured_share_of_uncured": ("cured ÷ uncured, true", "{:.0%}", ""),
    "exploitation_gap_uncured": ("gap of dqn, no cure", "{:+.0%}", ""),
    "exploitation_gap_greedy": ("gap of greedy", "{:+.0%}", ""),
    "share_of_truth_trained": ("share of truth-trained", "{:.0%}", ">= 90 %"),
    "headroom": ("headroom", "{:.0%}", ""),
    "headroom_share": ("of it earned", "{:.0%}", ">= 60 %"),
    "elasticity_error": ("elasticity error", "{:.2f}", "<= 0.2"),
    "elasticity_error_naive": ("naive", "{:.2f}", ""),
    "exposure_error": ("exposure error", "{:.0%}", "<= 10 %"),
}


TITLES = {
    RIGHT: "lstm",
    **{kind: f"{kind}, wrong on purpose" for kind in WRONG},
}


def table(content: dict[str, Any]) -> str:
    """One row a shop, means over seeds with 95 % intervals; the wrong user models below."""
    titles = [title for title, _, _ in COLUMNS.values()]
    lines = [
        "| shop | " + " | ".join(titles) + " |",
        "|---" * (len(titles) + 1) + "|",
        "| *target* | " + " | ".join(target for _, _, target in COLUMNS.values()) + " |",
    ]
    for name, group in content["mean"].items():
        cells = [_cell(group[key], form) for key, (_, form, _) in COLUMNS.items()]
        label = f"**mean of the well-specified** ({group['cells']} cells)"
        shown = label if name == "well_specified" else f"{name} ({group['cells']})"
        lines.append(f"| {shown} | " + " | ".join(cells) + " |")
    lines += ["", "| user model, well-specified shops | tau-b | regret | value error |"]
    lines.append("|---|---|---|---|")
    group = content["mean"].get("well_specified")
    for kind in (RIGHT, *WRONG) if group else ():
        if kind != RIGHT and kind not in group:
            continue
        of_kind = group if kind == RIGHT else group[kind]
        cells = [
            _cell(of_kind[key], COLUMNS[key][1]) for key in ("kendall_tau", "regret", "value_error")
        ]
        title = f"{TITLES[kind]} ({of_kind['cells']} cells)"
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(estimate: dict[str, Any], form: str) -> str:
    if estimate["mean"] is None:
        return "-"
    text = form.format(estimate["mean"])
    if estimate.get("low") is None:
        return text
    return f"{text} [{form.format(estimate['low'])}, {form.format(estimate['high'])}]"


def plot(cells: list[Cell], path: Path) -> None:
    """Claimed against true value of every fixed policy and of the agent, a panel a shop."""
    worlds = list(dict.fromkeys(cell.result["world"] for cell in cells))
    figure, axes = plt.subplots(
        1, len(worlds), figsize=(3.2 * len(worlds), 3.4), squeeze=False, layout="constrained"
    )
    for axis, world in zip(axes[0], worlds, strict=True):
        for cell in (cell for cell in cells if cell.result["world"] == world):
            _points(axis, cell)
        low, high = axis.get_xlim()
        axis.axline((low, low), (high, high), color="grey", linewidth=0.8)
        axis.set_title(world)
        axis.set_xlabel("true")
    axes[0][0].set_ylabel("claimed incremental revenue a session")
    axes[0][0].legend(fontsize="small", frameon=False)
    with beside(path) as place:
        figure.savefig(place, dpi=130, format="png")
    plt.close(figure)


def _points(axis: Any, cell: Cell) -> None:
    true, learned = cell.values[TRUE].mean(), cell.values[RIGHT].mean()
    groups = {
        "24 fixed policies": (rules_of(cell.values[TRUE]), learned, "C0", "."),
        GREEDY: ([GREEDY], learned, "C1", "^"),
        AGENT: ([AGENT], learned, "C3", "*"),
    }
    if SCORED in cell.values:
        groups["dqn, cured and cross-scored"] = [CURED], cell.values[SCORED].mean(), "C2", "P"
    first = not axis.collections
    for label, (names, claims, colour, marker) in groups.items():
        axis.scatter(
            [true[name] - true[NOTHING] for name in names],
            [claims[name] - claims[NOTHING] for name in names],
            color=colour,
            marker=marker,
            label=label if first else None,
        )
