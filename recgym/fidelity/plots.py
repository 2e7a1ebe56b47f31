"""The page's pictures as SVG text: both sides laid over each other."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from recgym.fidelity import counts
from recgym.fidelity.calibration import TITLES, Forecasts
from recgym.fidelity.counts import Counting
from recgym.fidelity.frame import NUM_DECILES
from recgym.fidelity.rows import share
from recgym.fidelity.score import Sides
from recgym.fidelity.trace import Floats, Trace

SIMULATED, REAL, FAINT = "#d97a2b", "#3f83c4", "#808890"  # all three readable on white and black
SIZE = (4.6, 3.0)  # inches
TYPES = ("view\nalone", "view\nfrom page", "favourite", "cart", "buy", "checkout", "leave")


@dataclass(frozen=True)
class Picture:
    """An inline figure."""

    title: str
    svg: str


def pictures(sides: Sides, forecasts: dict[str, Forecasts]) -> list[Picture]:
    """All that the log can show."""
    drawn: list[tuple[str, Callable[[Any], None]]] = [
        ("Session length", lambda axes: _lengths(axes, sides)),
        ("Time between events", lambda axes: _gaps(axes, sides)),
        ("Funnel", lambda axes: _funnel(axes, sides)),
        ("Event mix", lambda axes: _events(axes, sides)),
        ("Popularity of items", lambda axes: _popularity(axes, sides)),
        ("Lag until return to an item", lambda axes: _returns(axes, sides)),
    ]
    if sides.frame.priced:
        drawn.append(
            ("Revenue a session by tenth of the price", lambda axes: _deciles(axes, sides))
        )
    for name, found in forecasts.items():
        if found.happened.sum() > 0:
            drawn.append((f"Calibration of {TITLES[name]}", _calibration(found)))
    return [Picture(title, _svg(title, draw)) for title, draw in drawn]


def _svg(title: str, draw: Callable[[Any], None]) -> str:
    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": title,  # ids that are the same in every run and differ between pictures
        "text.color": FAINT, "axes.labelcolor": FAINT, "axes.edgecolor": FAINT,
        "xtick.color": FAINT, "ytick.color": FAINT, "font.size": 9,
    }  # fmt: skip
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.add_subplot()
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_facecolor("none")
        draw(axes)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False)
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def _both(sides: Sides, counting: Counting) -> list[tuple[str, str, Floats]]:
    """Name, colour and sums of each side, the real one first."""
    named = (("real", REAL, sides.real), ("simulated", SIMULATED, sides.simulated))
    return [(name, colour, _sums(counting, trace, sides)) for name, colour, trace in named]


def _sums(counting: Counting, trace: Trace, sides: Sides) -> Floats:
    found = counting(trace, sides.frame)
    sums = np.bincount(found.column, found.weight, minlength=found.size)
    return np.asarray(sums, dtype=np.float64)


def _lengths(axes: Any, sides: Sides) -> None:
    for name, colour, sums in _both(sides, counts.lengths):
        axes.step(np.arange(1, 41), share(sums)[1:41], where="mid", color=colour, label=name)
    axes.set(xlabel="views in a session", ylabel="share of sessions", yscale="log")


def _gaps(axes: Any, sides: Sides) -> None:
    wide = 20  # columns of the KS drawn as one
    for name, colour, sums in _both(sides, counts.gaps):
        height = share(sums.reshape(-1, wide).sum(1)) / (wide * counts.GAP_STEP)
        seconds = np.exp((np.arange(len(height)) + 0.5) * wide * counts.GAP_STEP)
        axes.plot(seconds, height, color=colour, label=name)
    axes.set(xscale="log", xlim=(1, 10_000), xlabel="seconds", ylabel="density of log seconds")


def _bars(axes: Any, both: list[tuple[str, str, Floats]], labels: tuple[str, ...]) -> None:
    place, width = np.arange(len(labels)), 0.4
    for side, (name, colour, height) in enumerate(both):
        axes.bar(place + (side - 0.5) * width, height, width, color=colour, label=name)
    axes.set_xticks(place, labels)


def _funnel(axes: Any, sides: Sides) -> None:
    def reached(trace: Trace) -> Floats:
        carted = trace.after >= 2
        some = [np.unique(trace.owner[x]).size for x in (trace.viewed, carted, trace.ordered)]
        return np.array(some) / trace.num_sessions

    both = [("real", REAL, reached(sides.real)), ("simulated", SIMULATED, reached(sides.simulated))]
    _bars(axes, both, ("view", "cart or buy", "order"))
    for name, _, height in both:
        for place, value in enumerate(height):
            shift = -0.2 if name == "real" else 0.2
            axes.text(place + shift, value, f"{value:.1%}", ha="center", va="bottom", fontsize=7)
    axes.set_ylabel("share of sessions")


def _events(axes: Any, sides: Sides) -> None:
    both = [(name, colour, share(sums)) for name, colour, sums in _both(sides, counts.events)]
    _bars(axes, both, TYPES)
    axes.tick_params(axis="x", labelsize=6)
    axes.set(yscale="log", ylabel="share of steps")


def _popularity(axes: Any, sides: Sides) -> None:
    for name, colour, sums in _both(sides, counts.item_views):
        height = -np.sort(-share(sums))
        height = height[height > 0]
        axes.plot(np.arange(1, len(height) + 1), height, color=colour, label=name)
    axes.set(xscale="log", yscale="log", xlabel="rank of the item", ylabel="share of views")


def _returns(axes: Any, sides: Sides) -> None:
    for name, colour, sums in _both(sides, counts.returns):
        if sums.sum() > 0:
            axes.plot(np.arange(1, 21), share(sums)[1:21], "o-", ms=3, color=colour, label=name)
    axes.set(xlabel="views since", ylabel="share of returns")


def _deciles(axes: Any, sides: Sides) -> None:
    both = _both(sides, counts.revenue_by_decile)
    labels = tuple(str(place) for place in range(1, NUM_DECILES + 1))
    _bars(axes, [(name, colour, sums[:-1] / sums[-1]) for name, colour, sums in both], labels)
    axes.set(xlabel="tenth of the price, from the cheapest", ylabel="currency units")


def _calibration(found: Forecasts) -> Callable[[Any], None]:
    def draw(axes: Any) -> None:
        chance, frequency = found.curve()
        most = max(float(chance.max()), float(frequency.max())) * 1.05
        axes.plot([0, most], [0, most], color=FAINT, lw=0.8, ls="--")
        axes.plot(chance, frequency, "o-", ms=4, color=SIMULATED)
        axes.set(xlim=(0, most), ylim=(0, most), xlabel="forecast", ylabel="frequency in the log")

    return draw
