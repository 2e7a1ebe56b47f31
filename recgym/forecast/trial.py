"""One model on one panel of series: fitted twice, forecast from every origin, calibrated, scored.

The model that forecasts the validation block is fitted before it; its scores there choose among the
models and calibrate the intervals. The model that forecasts the test block is fitted before *that*,
so on the validation block too, and not again: from one origin to the next it only sees more past.
Intervals are calibrated on the last windows before each origin, as many as the validation block
has. With ``rolling`` these move along with the origin, so that at a later one they are windows of
the test block whose truth is known by then (a sliding window as in Xu and Xie 2021, "Conformal
prediction interval for dynamic time-series"); without, they stay those of the validation block.
Nothing is chosen by the test block, and no forecast heeds what comes after its own origin.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from recgym.forecast import conformal
from recgym.forecast.blocks import Blocks
from recgym.forecast.clock import Bools, Clock, Floats, Ints, Past
from recgym.forecast.models.base import Forecaster, window_levels
from recgym.forecast.scores import Scores, average, naive_scale, score
from recgym.forecast.series import Panel

Make = Callable[[], Forecaster]
CALIBRATIONS = ("rolling", "fixed")


@dataclass(frozen=True)
class Trial:
    """What one model did on one panel."""

    valid: Scores
    test: Scores
    quantile_SOHQ: Floats  # of the test block, as scored
    widening_S: Floats  # of intervals after the log, by the test block
    seconds: float


@dataclass(frozen=True)
class _Block:
    """Forecasts and truth of one block."""

    raw_SOHQ: Floats  # before any calibration
    truth_SOH: Floats
    open_OH: Bools
    usual_OH: Bools
    level_SO: Floats

    def widened(self, by_SO: Floats) -> Floats:
        """Calibrated, and 0 where the shop is closed."""
        found_SOHQ = conformal.widened(self.raw_SOHQ, by_SO, self.level_SO)
        return np.where(self.usual_OH[..., None], found_SOHQ, 0.0)

    def scores(self) -> Floats:
        """What calibration reads, [S, O, H]."""
        return conformal.scores(self.raw_SOHQ, self.truth_SOH, self.level_SO)

    def widening(self) -> Floats:
        """Of intervals that are calibrated on the whole block, [S]."""
        return conformal.widening(self.scores(), self.open_OH)


def past_of(panel: Panel, clock: Clock, blocks: Blocks) -> Past:
    """All that the log holds of a panel."""
    return Past(panel.value, panel.start, clock, blocks.window, blocks.horizon)


def try_model(
    make: Make, panel: Panel, clock: Clock, blocks: Blocks, *, rolling: bool = True
) -> Trial:
    """Fit, forecast, calibrate and score."""
    begun = time.perf_counter()
    whole = past_of(panel, clock, blocks)
    first = int(blocks.valid[0])
    scale_S = naive_scale(panel.value[:, :first], panel.start, clock.open[:first], clock.season)
    valid = _forecast(make, whole, blocks.valid)
    test = _forecast(make, whole, blocks.test)
    by_S1 = valid.widening()[:, None]
    by_SO = _rolling(valid, test) if rolling else by_S1
    found_SOHQ = test.widened(by_SO)
    return Trial(
        valid=score(valid.widened(by_S1), valid.truth_SOH, valid.open_OH, scale_S),
        test=score(found_SOHQ, test.truth_SOH, test.open_OH, scale_S),
        quantile_SOHQ=found_SOHQ,
        widening_S=test.widening(),
        seconds=time.perf_counter() - begun,
    )


def forecast_next(make: Make, trial: Trial, panel: Panel, clock: Clock, blocks: Blocks) -> Floats:
    """Quantiles of the horizon after the log, [S, H, Q], calibrated as ``trial`` found."""
    whole = past_of(panel, clock, blocks)
    model = make()
    model.fit(whole)
    raw_SHQ, level_S = model.predict(whole), _levels(whole)
    by_S1 = trial.widening_S[:, None]
    found_SHQ = conformal.widened(raw_SHQ[:, None], by_S1, level_S[:, None])[:, 0]
    return np.where(clock.usual[whole.ahead][:, None], found_SHQ, 0.0)


def choose(trials: Mapping[str, Trial]) -> str:
    """The model of the least mean MASE on the validation block; by MAE where none is defined."""

    def loss(name: str) -> float:
        valid = trials[name].valid
        found = average(valid.mase)
        found = average(valid.mae) if found is None else found
        return float("inf") if found is None else found

    return min(trials, key=loss)


def _rolling(valid: _Block, test: _Block) -> Floats:
    """Widening at each origin of the test block by the windows before it, [S, O]."""
    score_SOH = np.concatenate([valid.scores(), test.scores()], 1)
    open_OH = np.concatenate([valid.open_OH, test.open_OH])
    number = len(valid.open_OH)
    return np.stack(
        [
            conformal.widening(score_SOH[:, o : o + number], open_OH[o : o + number])
            for o in range(len(test.open_OH))
        ],
        1,
    )


def _forecast(make: Make, whole: Past, origin_O: Ints) -> _Block:
    model = make()
    model.fit(whole.until(int(origin_O[0])))
    pasts = [whole.until(int(origin)) for origin in origin_O]
    step_OH = np.stack([past.ahead for past in pasts])
    return _Block(
        raw_SOHQ=np.stack([model.predict(past) for past in pasts], 1),
        truth_SOH=whole.value[:, step_OH],
        open_OH=whole.clock.open[step_OH],
        usual_OH=whole.clock.usual[step_OH],
        level_SO=np.stack([_levels(past) for past in pasts], 1),
    )


def _levels(past: Past) -> Floats:
    row_S = np.arange(len(past.value))
    return window_levels(past, row_S, np.full(len(row_S), past.value.shape[1]))
