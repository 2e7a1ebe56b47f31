"""TensorBoard: the one place where tensors become floats."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from matplotlib.figure import Figure
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

INCREMENTAL = "incremental_revenue_per_session"


class Logger:
    """Writes scalars and figures of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writer = SummaryWriter(str(folder))

    def go_on_from(self, step: int) -> None:
        """Hide what a killed run wrote beyond this step."""
        self.writer.close()
        self.writer = SummaryWriter(str(self.folder), purge_step=step + 1)

    def scalar(self, tag: str, value: float | Tensor, step: int) -> None:
        """One number."""
        self.writer.add_scalar(tag, float(value), step)

    def scalars(self, prefix: str, values: Mapping[str, float | Tensor], step: int) -> None:
        """Numbers under one prefix."""
        for name, value in values.items():
            self.scalar(f"{prefix}/{name}", value, step)

    def text(self, tag: str, content: str) -> None:
        """A preformatted text."""
        lines = "\n".join(f"    {line}" for line in content.splitlines())
        self.writer.add_text(tag, lines)

    def policies(
        self,
        summary: dict[str, Any],
        metric: str = INCREMENTAL,
        title: str = "incremental revenue a session",
    ) -> None:
        """The policy table as numbers, and one metric as a figure."""
        for name, values in summary["policies"].items():
            for shop, row in values.items():
                for each, estimate in (row or {}).items():
                    if estimate["mean"] is None:
                        continue
                    tag = f"policy_{shop}/{name}/{each}"
                    self.scalar(tag, estimate["mean"], 0)
                    for end in ("worst", "best") if estimate.get("range") else ():
                        self.scalar(f"{tag}_{end}", estimate["range"][end], 0)
        self.writer.add_figure("policies", figure_of(summary, metric, title))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.writer.close()


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
