"""The figures that a run leaves in TensorBoard, of numbers that are floats already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

STAGES = {"clicks": "#7a8fb8", "carts": "#d9a441", "orders": "#c8553d"}


def figure_of(summary: dict[str, Any], metric: str, title: str) -> Figure:
    """A metric of each policy, in the learned and the true shop."""
    figure = Figure(figsize=(7.5, 3.6), layout="constrained")
    axes = figure.subplots()
    names = list(summary["policies"])
    for offset, shop, colour in ((-0.14, "learned", "#7a8fb8"), (0.14, "true", "#c8553d")):
        for row, name in enumerate(names):
            estimate = (summary["policies"][name][shop] or {}).get(metric)
            if estimate is None or estimate["mean"] is None:
                continue
            mean, found = estimate["mean"], estimate.get("range")
            if found:
                ends = [found["worst"], found["best"]]
                axes.plot(ends, [row + offset] * 2, color=colour, alpha=0.35, linewidth=5)
            error = [[mean - estimate["low"]], [estimate["high"] - mean]]
            axes.errorbar(mean, row + offset, xerr=error, fmt="o", color=colour, capsize=3)
        axes.plot([], [], "o", color=colour, label=f"{shop} shop")
    axes.axvline(0.0, color="#999999", linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    over = "; wide: worst to best assumption" if "assumed" in summary else ""
    axes.set_xlabel(f"{title}, 95 % interval{over}")
    axes.legend(loc="lower right")
    return figure


def funnel_of(rows: Mapping[str, Mapping[str, float]], shop: str) -> Figure:
    """What 100 sessions bring under each policy: clicks on the page, carts, orders."""
    figure = Figure(figsize=(7.5, 0.5 * len(rows) + 1.6), layout="constrained")
    axes = figure.subplots()
    stages = [name for name in STAGES if any(name in row for row in rows.values())]
    height = 0.8 / len(stages)
    for place, stage in enumerate(stages):
        values = [100.0 * row.get(stage, 0.0) for row in rows.values()]
        at = [number + (place - (len(stages) - 1) / 2) * height for number in range(len(rows))]
        bars = axes.barh(at, values, height, color=STAGES[stage], label=stage)
        axes.bar_label(bars, fmt="%.1f", padding=2, fontsize=7)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel(f"of 100 sessions, {shop} shop")
    figure.legend(loc="outside upper center", ncols=len(stages), frameon=False)
    return figure


def calibration_of(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> Figure:
    """Mean forecast and frequency in bins of equally many forecasts, an event each."""
    figure = Figure(figsize=(3.0 * len(curves), 3.2), layout="constrained")
    for axes, (name, (chance, frequency)) in zip(
        figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True
    ):
        most = 1.05 * max(*chance, *frequency, 1e-9)
        axes.plot([0, most], [0, most], color="#999999", linewidth=0.8, linestyle="--")
        axes.plot(chance, frequency, "o-", markersize=4, color="#c8553d")
        axes.set(xlim=(0, most), ylim=(0, most), title=name, xlabel="forecast")
    figure.axes[0].set_ylabel("frequency in the log")
    return figure


def front_of(
    policies: Mapping[str, Mapping[str, Any]],
    fronts: Mapping[str, Mapping[str, Any]],
    aims: Mapping[str, str],
) -> Figure:
    """Two estimates of each policy against each other, a drawing for each shop.

    Args:
        policies: name, then shop, then metric.
        fronts: shop, then who is on it and what it covers, as `agents.ads.front.front` has them.
        aims: metrics across and up, and what each is called.
    """
    figure = Figure(figsize=(5.2 * len(fronts), 4.0), layout="constrained")
    (across, label), (up, title) = aims.items()
    for axes, (shop, found) in zip(
        figure.subplots(1, len(fronts), squeeze=False)[0], fronts.items(), strict=True
    ):
        points = {name: (row[shop][across], row[shop][up]) for name, row in policies.items()}
        best = sorted((points[n][0]["mean"], points[n][1]["mean"]) for n in found["policies"])
        axes.plot(*zip(*best, strict=True), color="#c8553d", linewidth=1.0)
        named: dict[tuple[float, float], list[str]] = {}
        for name, both in points.items():
            colour = "#c8553d" if name in found["policies"] else "#7a8fb8"
            mean = [value["mean"] for value in both]
            width, height = [
                [[max(0.0, x)] for x in (v["mean"] - v["low"], v["high"] - v["mean"])] for v in both
            ]
            axes.errorbar(*mean, xerr=width, yerr=height, fmt="o", color=colour, capsize=2)
            named.setdefault((mean[0], mean[1]), []).append(name)
        for place, names in named.items():  # policies that do the same share a label
            text = ", ".join(names)
            axes.annotate(text, place, xytext=(4, 4), textcoords="offset points", fontsize=7)
        axes.set_title(f"{shop} shop, hypervolume {found['hypervolume']:.3g}", fontsize=9)
        axes.set(xlabel=f"{label}, 95 % interval", ylabel=title)
    return figure
