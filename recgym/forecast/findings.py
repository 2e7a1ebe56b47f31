"""What was found on all panels, and the files that it is left in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recgym import progress
from recgym.errors import UserError
from recgym.forecast.blocks import Blocks
from recgym.forecast.clock import Clock
from recgym.forecast.files import next_rows, write_csv, write_forecast
from recgym.forecast.plots import draw_models, draw_panel
from recgym.forecast.series import closed_days, make_panel, outside_hours
from recgym.forecast.tables import series_rows, table_rows
from recgym.forecast.trial import Make, Trial, choose, forecast_next, try_model
from recgym.logs.log import Log


class Findings:
    """What was found on all panels so far."""

    def __init__(
        self,
        log: Log,
        clock: Clock,
        blocks: Blocks,
        makes: dict[str, Make],
        settings: dict[str, Any],
        folder: Path,
    ) -> None:
        self.log, self.clock, self.blocks, self.makes = log, clock, blocks, makes
        self.settings, self.folder = settings, folder
        self.table: list[dict[str, Any]] = []
        self.series: list[dict[str, Any]] = []
        self.next: list[dict[str, Any]] = []
        self.set_aside: list[dict[str, Any]] = []
        self.trials: dict[str, dict[str, Trial]] = {}

    def add(self, measure: str, level: str) -> None:
        """Try all models on one panel."""
        clock, blocks, settings = self.clock, self.blocks, self.settings
        panel = make_panel(self.log, measure, level, clock, blocks, settings["max_series"])
        self.set_aside += [
            {"measure": measure, "level": level, "reason": reason, "series": number}
            for reason, number in panel.set_aside.items()
        ]
        if not panel.names:
            progress.advance(len(self.makes))
            return
        trials = {}
        for name, make in self.makes.items():
            trials[name] = try_model(
                make, panel, clock, blocks, rolling=settings["calibration"] == "rolling"
            )
            progress.advance(1)
        chosen = choose(trials)
        self.table += table_rows(panel, trials, chosen, settings["resamples"], settings["seed"])
        self.series += series_rows(panel, trials)
        ahead_SHQ = forecast_next(self.makes[chosen], trials[chosen], panel, clock, blocks)
        self.next += next_rows(panel, chosen, ahead_SHQ, clock)
        self.trials[f"{measure} by {level}"] = trials
        file = self.folder / f"{measure}_by_{level}.png"
        draw_panel(file, panel, trials, chosen, clock, blocks)

    def write(self, seconds: dict[str, float]) -> None:
        """All files; forecast.json last, so that where it is the others are too."""
        if not self.table:
            raise UserError(
                f"the log {self.log.meta['source']} has no series that began a window and a "
                f"horizon before {self.clock.time(int(self.blocks.valid[0]))}: expected a "
                "longer log; set window and horizon to fewer days."
            )
        write_csv(self.folder / "table.csv", self.table)
        write_csv(self.folder / "series.csv", self.series)
        write_csv(self.folder / "next.csv", self.next)
        draw_models(self.folder / "models.png", self.trials)
        write_forecast(
            self.folder / "forecast.json",
            {
                "log": {"folder": str(self.log.folder), "source": self.log.meta["source"]},
                "settings": {k: v for k, v in self.settings.items() if k not in ("log", "world")},
                "span": self.span(),
                "set_aside": self.set_aside,
                "table": self.table,
                "seconds": {k: round(v, 1) for k, v in seconds.items()},
            },
        )

    def span(self) -> dict[str, Any]:
        """What was counted, and when."""
        clock, blocks = self.clock, self.blocks
        return {
            "first": clock.time(0),
            "last": clock.time(clock.num_steps - 1),
            "validation": clock.time(int(blocks.valid[0])),
            "test": clock.time(int(blocks.test[0])),
            "origins": len(blocks.test),
            "open_share": round(float(clock.usual[: clock.num_steps].mean()), 4),
            "days_without_events": int(closed_days(self.log, clock).sum()) // clock.per_day,
            "events_while_closed": outside_hours(self.log, clock),
        }

    def lines(self) -> list[str]:
        """The rules that had a part in the tables."""
        span, number = self.span(), len(self.blocks.test)
        found = [
            f"{span['first']} to {span['last']}; {number} origins from {span['test']} on; "
            f"* chosen on the {number} before, from {span['validation']} on",
            f"the shop is open {span['open_share']:.0%} of the time; "
            f"{span['days_without_events']} days had no event; "
            f"{span['events_while_closed']} events fell on closed hours",
        ]
        for row in self.set_aside:
            found.append(
                f"{row['measure']} by {row['level']}: set aside {row['series']} series: "
                f"{row['reason']}"
            )
        return found
