"""Pictures of a panel: the test block with its forecasts, and the models beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from recgym.forecast.blocks import Blocks
from recgym.forecast.clock import STEP_MS, Clock, Ints
from recgym.forecast.scores import average
from recgym.forecast.series import Panel
from recgym.forecast.trial import Trial

TRUTH, OURS, FIRST = "#3f83c4", "#d97a2b", "#808890"
MOST = 4  # series drawn of a panel, the largest


def draw_panel(
    file: Path, panel: Panel, trials: Mapping[str, Trial], chosen: str, clock: Clock, blocks: Blocks
) -> None:
    """Truth, the chosen model's median and interval, and the first model's forecast."""
    number = min(MOST, len(panel.names))
    figure = Figure(figsize=(9.0, 2.2 * number), layout="constrained")
    some = figure.subplots(number, squeeze=False)[:, 0]
    step_T = blocks.test[0] + np.arange(len(blocks.test) * blocks.horizon)
    shown_T = np.arange(max(0, blocks.test[0] - blocks.window), step_T[-1] + 1)
    first = next(iter(trials))
    for s, axes in enumerate(some):
        found_TQ = trials[chosen].quantile_SOHQ[s].reshape(len(step_T), -1)
        axes.plot(_dates(clock, shown_T), panel.value[s, shown_T], color=TRUTH, label="log", lw=1)
        if first != chosen:
            base_T = trials[first].quantile_SOHQ[s, ..., 1].ravel()
            axes.plot(_dates(clock, step_T), base_T, color=FIRST, lw=0.8, ls=":", label=first)
        dates = _dates(clock, step_T)
        axes.plot(dates, found_TQ[:, 1], color=OURS, lw=1, label=chosen)
        axes.fill_between(dates, found_TQ[:, 0], found_TQ[:, -1], color=OURS, alpha=0.25, lw=0)
        axes.set_title(f"{panel.level} {panel.names[s]}", fontsize=9, loc="left")
        axes.set_ylabel(panel.measure, fontsize=8)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    some[0].legend(frameon=False, fontsize=7, ncols=3)
    figure.savefig(file, dpi=110)


def draw_models(file: Path, results: Mapping[str, Mapping[str, Trial]]) -> None:
    """MASE of each model on each panel; 1 is the error of last week's values in training."""
    panels = list(results)
    models = list(next(iter(results.values())))
    figure = Figure(figsize=(1.5 + 1.1 * len(panels), 3.2), layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / len(models)
    for number, model in enumerate(models):
        value = [average(results[p][model].test.mase) or np.nan for p in panels]
        place = np.arange(len(panels)) + (number - (len(models) - 1) / 2) * width
        axes.bar(place, value, width, label=model)
    axes.axhline(1.0, color=FIRST, lw=0.8, ls="--")
    axes.set_xticks(np.arange(len(panels)), panels, fontsize=7, rotation=30, ha="right")
    axes.set_ylabel("MASE")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=7, ncols=len(models))
    figure.savefig(file, dpi=110)


def _dates(clock: Clock, step: Ints) -> Any:
    return (clock.start_ms + step * STEP_MS[clock.step]).astype("datetime64[ms]")
