"""``python -m recgym.forecast log=...``: sales and traffic of a log, forecast and scored."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from recgym import progress
from recgym.build import build, check_settings
from recgym.cli import check_numbers, check_world, command, use_threads
from recgym.errors import UserError
from recgym.forecast.blocks import Blocks, make_blocks
from recgym.forecast.clock import STEP_MS, WEEK, Clock
from recgym.forecast.findings import Findings
from recgym.forecast.series import LEVELS, MEASURES, check_measures, make_clock, whole_days
from recgym.forecast.tables import console_lines
from recgym.forecast.trial import CALIBRATIONS, Make
from recgym.logs.log import Log
from recgym.stages.log import prepare_log
from recgym.types import DAY_MS

NUMBERS = {"window": WEEK, "horizon": 1, "windows": 1, "max_series": 1, "resamples": 20, "seed": 0}


def check(cfg: DictConfig) -> dict[str, Make]:
    """The models to try; stops before any work where a setting cannot be used."""
    check_numbers(cfg, NUMBERS)
    if cfg.window % WEEK:
        raise UserError(f"window={cfg.window}: expected whole weeks of {WEEK} days.")
    for name, choices in (("step", tuple(STEP_MS)), ("calibration", CALIBRATIONS)):
        if OmegaConf.select(cfg, name) not in choices:
            raise UserError(f"{name}={cfg[name]}: expected one of {', '.join(choices)}.")
    for name, known in (("measures", MEASURES), ("levels", LEVELS), ("use", tuple(cfg.models))):
        asked = OmegaConf.select(cfg, name)
        if asked is None and name == "measures":
            continue
        if not asked or isinstance(asked, str) or not set(asked) <= set(known):
            raise UserError(f"{name}={asked}: expected a list of some of {', '.join(known)}.")
    models: Any = OmegaConf.to_container(cfg.models, resolve=True)
    for name in cfg.use:
        check_settings(f"models.{name}", models[name])
    return {name: partial(build, models[name]) for name in cfg.use}


@command("forecast")
def main(cfg: DictConfig) -> None:
    """A table here; forecast.json, CSV files and pictures in the run's folder."""
    makes = check(cfg)
    check_world(cfg)
    use_threads(cfg.num_threads)
    seconds: dict[str, float] = {}
    settings: Any = OmegaConf.to_container(cfg, resolve=True)
    log, _, reused = prepare_log(settings["log"], Path(cfg.cache_dir), seconds)
    progress.say(f"log: {'reused' if reused else 'made'} {log.folder}")
    measures = check_measures(log, settings["measures"])
    clock, blocks = time_axis(log, cfg)
    folder = Path(HydraConfig.get().runtime.output_dir)
    found = Findings(log, clock, blocks, makes, settings, folder)
    with progress.stage("forecast", len(measures) * len(cfg.levels) * len(makes), seconds):
        for measure in measures:
            for level in cfg.levels:
                found.add(measure, level)
    found.write(seconds)
    for line in [*console_lines(found.table), *found.lines()]:
        progress.say(line)
    progress.say(f"files        {folder / 'forecast.json'}, table.csv, series.csv, next.csv, *.png")


def time_axis(log: Log, cfg: DictConfig) -> tuple[Clock, Blocks]:
    """The clock of all series and the windows on it."""
    begin, num_days = whole_days(log, cfg.until)
    blocks = make_blocks(
        num_days=num_days,
        per_day=DAY_MS // STEP_MS[cfg.step],
        window=cfg.window,
        horizon=cfg.horizon,
        windows=cfg.windows,
        source=log.meta["source"],
    )
    return make_clock(log, cfg.step, blocks, begin, num_days), blocks


if __name__ == "__main__":
    sys.exit(main())
