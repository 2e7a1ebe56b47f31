"""TensorBoard: the one place where tensors become floats."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from matplotlib.figure import Figure
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from agents.drawings import figure_of, funnel_of
from recgym import metrics

MOST_VALUES = 50_000  # of a histogram; more do not change its shape
RESULTS = (  # what the HParams tab compares; every run declares all, and writes what it knows
    "conversion_rate", *metrics.OF_SESSIONS, *metrics.OF_SHOPPERS, "earned_per_shopper", "ad_load",
)  # fmt: skip
SHOPS = ("learned", "true")
PROJECTOR, FIRST_STEP = "projector_config.pbtxt", "00000"  # names that torch's writer chooses
LAYOUT = {  # of the custom scalars tab: regular expressions of tags
    "funnel": {
        "clicks a page": ["Multiline", ["train/clicks_per_page"]],
        "orders a page": ["Multiline", ["train/orders_per_page"]],
        "conversion of policies": ["Multiline", ["policy_.*/conversion_rate"]],
        "click-through of policies": ["Multiline", ["policy_.*/click_through_rate"]],
    },
    "money": {
        "reward while training": ["Multiline", ["train/reward"]],
        "revenue of policies": ["Multiline", ["policy_.*/revenue_per_(session|shopper)"]],
        "incremental revenue of policies": ["Multiline", ["policy_.*/incremental_revenue_per_.*"]],
    },
    "agent": {
        "loss": ["Multiline", ["agent/.*loss"]],
        "all that it tells": ["Multiline", ["agent/.*"]],
    },
    "speed": {
        "environment steps a second": ["Multiline", ["speed/steps_per_second"]],
        "seconds of each stage": ["Multiline", ["speed/seconds_.*"]],
    },
}


class Logger:
    """Writes scalars, distributions, texts and figures of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writer = SummaryWriter(str(folder))
        self.writer.add_custom_scalars(LAYOUT)
        self._last: tuple[float, int] | None = None  # when speed was told, and the step then

    def go_on_from(self, step: int) -> None:
        """Hide what a killed run wrote beyond this step."""
        self.writer.close()
        self.writer = SummaryWriter(str(self.folder), purge_step=step + 1)

    def flush(self) -> None:
        """Leave all that was written on disk: a killed run goes on behind it."""
        self.writer.flush()

    # ---- curves ---------------------------------------------------------------------------------

    def scalar(self, tag: str, value: float | Tensor, step: int) -> None:
        """One number."""
        self.writer.add_scalar(tag, float(value), step)

    def scalars(self, prefix: str, values: Mapping[str, float | Tensor], step: int) -> None:
        """Numbers under one prefix."""
        for name, value in values.items():
            self.scalar(f"{prefix}/{name}", value, step)

    def speed(self, step: int) -> None:
        """Environment steps a second since the last call."""
        now = time.perf_counter()
        if self._last is not None and step > self._last[1]:
            seconds = max(now - self._last[0], 1e-9)
            self.scalar("speed/steps_per_second", (step - self._last[1]) / seconds, step)
        self._last = now, step

    def histogram(self, tag: str, values: Tensor, step: int) -> None:
        """A distribution; what is not finite is left out."""
        flat = values.detach().flatten()
        flat = flat[:: len(flat) // MOST_VALUES + 1]
        flat = flat[flat.isfinite()]
        if len(flat):
            self.writer.add_histogram(tag, flat.float().cpu(), step)

    # ---- once a run -----------------------------------------------------------------------------

    def text(self, tag: str, content: str) -> None:
        """A preformatted text."""
        lines = "\n".join(f"    {line}" for line in content.splitlines())
        self.writer.add_text(tag, lines)

    def figure(self, tag: str, figure: Figure) -> None:
        """A drawing."""
        self.writer.add_figure(tag, figure)

    def embedding(
        self, tag: str, vector_XD: Tensor, labels: Sequence[Sequence[Any]], header: Sequence[str]
    ) -> None:
        """Vectors for the projector, each with its labels; those of an earlier run are replaced."""
        (self.folder / PROJECTOR).unlink(missing_ok=True)
        shutil.rmtree(self.folder / FIRST_STEP / tag, ignore_errors=True)
        self.writer.add_embedding(
            vector_XD.detach().cpu(),
            metadata=[list(row) for row in labels],
            metadata_header=list(header),
            tag=tag,
        )

    def policies(
        self,
        summary: dict[str, Any],
        metric: str,
        title: str,
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
        self.figure("policies", figure_of(summary, metric, title))

    def funnel(self, played: Mapping[str, Any], shop: str) -> None:
        """What a session brings under each policy, by the sums that `played` holds of it."""
        rows: dict[str, dict[str, float]] = {}
        for name, stats in played.items():
            sums = {stage: getattr(stats, stage, None) for stage in ("clicks", "carts", "orders")}
            sessions = len(stats.pages) if stats.sessions is None else float(stats.sessions.sum())
            rows[name] = {
                stage: float(value.double().sum()) / max(sessions, 1.0)
                for stage, value in sums.items()
                if value is not None
            }
        self.figure("funnel", funnel_of(rows, shop))

    def job(self, settings: Mapping[str, bool | str | float], summary: dict[str, Any]) -> None:
        """Settings and results for the HParams tab, and the seconds of each stage.

        What `SummaryWriter.add_hparams` writes, but into this run's own file, and with results that
        are declared and not known left out rather than written as NaN: the tab takes its columns
        from one run.
        """
        tags = {f"result_{shop}/{metric}": 0.0 for shop in SHOPS for metric in RESULTS}
        assert self.writer.file_writer is not None
        for part in hparams(dict(settings), tags):
            self.writer.file_writer.add_summary(part)
        for shop in SHOPS:
            row = summary["policies"][summary["agent"]].get(shop) or {}
            for metric in RESULTS:
                value = (row.get(metric) or {}).get("mean")
                if value is not None:
                    self.scalar(f"result_{shop}/{metric}", value, 0)
        for stage, seconds in summary["seconds"].items():
            self.scalar(f"speed/seconds_{stage}", seconds, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.writer.close()
