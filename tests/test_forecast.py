"""recgym.forecast: models, scores and intervals on series whose answers are known."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import compose

from recgym.build import build
from recgym.errors import UserError
from recgym.forecast import conformal
from recgym.forecast.blocks import Blocks, make_blocks
from recgym.forecast.clock import Clock, Floats, Past
from recgym.forecast.models.autoregressive import Autoregressive
from recgym.forecast.models.base import Forecaster
from recgym.forecast.models.ets import Ets
from recgym.forecast.models.lstm import Lstm
from recgym.forecast.models.seasonal_naive import SeasonalNaive
from recgym.forecast.scores import average, draw, naive_scale, resampled, score
from recgym.forecast.series import Panel
from recgym.forecast.tables import missed
from recgym.forecast.trial import Trial, choose, forecast_next, try_model
from recgym.types import DAY_MS

MONDAY_MS = 19_723 * DAY_MS  # 2024-01-01
CONF = Path(__file__).resolve().parents[1] / "conf" / "forecaster"
MODELS = sorted(path.stem for path in CONF.glob("*.yaml"))
SMALL: dict[str, dict[str, Any]] = {
    "boosting": {"iterations": 10, "leaf_rows": 5},
    "lstm": {"epochs": 2, "num_nets": 1, "hidden": 4},
}
WEEK = np.array([5.0, 3.0, 4.0, 6.0, 9.0, 20.0, 12.0])


def past(value_ST: Floats, horizon: int = 7, closed: tuple[int, ...] = ()) -> Past:
    """Series of days from a Monday on, closed on some weekdays."""
    length = value_ST.shape[1]
    usual_T = ~np.isin(np.arange(length + horizon) % 7, closed)
    clock = Clock("day", MONDAY_MS, length, usual_T, usual_T[:length])
    return Past(value_ST, np.zeros(len(value_ST), dtype=np.int64), clock, 28, horizon)


def periodic(weeks: int = 12) -> Floats:
    """Two series that repeat every week, one ten times the other."""
    return np.outer([1.0, 10.0], np.tile(WEEK, weeks))


def made(name: str) -> Forecaster:
    settings = compose("forecast")["models"][name]
    model: Forecaster = build({**settings, **SMALL.get(name, {})})
    return model


def fitted(model: Forecaster, given: Past) -> Floats:
    model.fit(given)
    return model.predict(given)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_forecasts_its_shape_in_order_and_again(name: str) -> None:
    # Why: a model is added by one file and one YAML; scores and calibration rest on this.
    noise_ST = np.random.default_rng(0).poisson(periodic()).astype(float)
    given = past(noise_ST, closed=(2,))
    first, again = fitted(made(name), given), fitted(made(name), given)
    assert first.shape == (2, 7, 3) and np.isfinite(first).all()
    assert (np.diff(first, axis=-1) >= 0).all()
    assert (first == again).all()


@pytest.mark.parametrize("name", MODELS)
def test_a_constant_series_is_forecast_as_it_is(name: str) -> None:
    # Why: it has no variance to divide by, in scaling, in least squares, in likelihoods.
    median_SH = fitted(made(name), past(np.full((2, 84), 5.0)))[..., 1]
    assert median_SH == pytest.approx(np.full((2, 7), 5.0), abs=0.25 if name == "lstm" else 1e-6)


def test_last_week_is_exact_on_a_series_that_repeats() -> None:
    # Why: the yardstick must itself be right, also beyond a week ahead.
    found = fitted(SeasonalNaive(), past(periodic(), horizon=10))
    assert (found[0, :, 1] == WEEK[[0, 1, 2, 3, 4, 5, 6, 0, 1, 2]]).all()


def test_autoregression_continues_an_exact_process() -> None:
    # Why: y(t) = 3 + season + 0.9 y(t - 1) without noise leaves nothing to miss.
    def process(length: int) -> Floats:
        value = [80.0]
        for t in range(1, length):
            value.append(3.0 + WEEK[t % 7] + 0.9 * value[-1])
        return np.array([value])

    found = fitted(Autoregressive(lags=1, weeks=1), past(process(70)))
    assert found[0, :, 1] == pytest.approx(process(77)[0, 70:], rel=1e-6)


def test_autoregression_recovers_its_coefficients() -> None:
    # Why: y(t) = 10 + 0.6 y(t - 1) + noise; the season and the lag of a week have no part in it.
    noise = np.random.default_rng(1).normal(size=4000)
    value = np.full(4000, 25.0)
    for t in range(1, 4000):
        value[t] = 10.0 + 0.6 * value[t - 1] + noise[t]
    model = Autoregressive(lags=1, weeks=1)
    model.fit(past(value[None]))
    assert model.lag_K.tolist() == [1, 7]
    assert model.weight_SK[0] == pytest.approx([0.6, 0.0], abs=0.04)


def test_autoregression_of_a_late_series_keeps_its_weekdays() -> None:
    # Why: dummies count from where a series begins, forecasts from where the clock does.
    value_ST = periodic()
    value_ST[0, :24] = 0.0
    given = dataclasses.replace(past(value_ST), start=np.array([24, 0]))
    assert fitted(Autoregressive(lags=1, weeks=1), given)[:, :, 1] == pytest.approx(
        np.outer([1.0, 10.0], WEEK), rel=1e-6
    )


def test_smoothing_is_exact_on_a_series_that_repeats() -> None:
    # Why: its initial states are then the truth, whatever the weights.
    assert fitted(Ets(), past(periodic()))[..., 1] == pytest.approx(np.outer([1, 10], WEEK))


def test_an_lstm_learns_what_the_season_does_not_say() -> None:
    # Why: a level that alternates by week is in the window, and in no mean over it.
    level = np.tile([1.0, 1.0, 1.0, 3.0, 3.0, 3.0], 40)
    given = past(np.outer([1.0, 7.0], level[:231]), horizon=3)
    model = Lstm(hidden=16, epochs=25, num_nets=1, learning_rate=0.01, max_steps=14)
    error_SH = fitted(model, given)[..., 1] / [[1.0], [7.0]] - level[231:234]
    # the mean over the weeks of the window, which it begins as, is 2: wrong by 1 everywhere
    assert np.abs(error_SH).mean() < 0.25


def test_scores_by_hand() -> None:
    # Why: one series, one origin, four steps, of which the last is closed.
    quantile_SOHQ = np.array([[[[8.0, 10, 12], [0, 0, 0], [4, 10, 16], [0, 0, 0]]]])
    truth_SOH = np.array([[[15.0, 0, 10, 99]]])
    found = score(quantile_SOHQ, truth_SOH, np.array([[True, True, True, False]]), np.array([2.0]))
    assert found.mae[0, 0] == pytest.approx(5 / 3)
    assert found.mase[0, 0] == pytest.approx(5 / 6)
    assert found.smape[0, 0] == pytest.approx(200 * 5 / 25 / 3)
    # errors of the quantiles: 7, 5, 3 at the first step and 6, 0, -6 at the third
    first, third = (0.7 + 2.5 + 2.7) / 3, (0.6 + 0.0 + 0.6) / 3
    assert found.pinball[0, 0] == pytest.approx((first + third) / 3)
    assert found.coverage[0, 0] == pytest.approx(2 / 3)
    assert found.width[0, 0] == pytest.approx((4 + 0 + 12) / 3)


def test_the_scale_of_mase_by_hand() -> None:
    # Why: Hyndman and Koehler's is the change within training, here over the open days alone.
    value_ST = np.concatenate([np.full((1, 7), 10.0), np.full((1, 7), 12.0)], 1)
    value_ST[0, 13] = 500.0
    open_T = np.arange(14) % 7 != 6
    assert naive_scale(value_ST, np.array([0]), open_T, 7)[0] == 2.0
    assert np.isnan(naive_scale(value_ST, np.array([1]) + 6, open_T, 7)[0])  # no week before it
    assert np.isnan(naive_scale(np.ones((1, 14)), np.array([0]), open_T, 7)[0])


def test_ranks_of_split_conformal_by_hand() -> None:
    # Why: with nine scores the 80 % are the eighth smallest, not the seventh.
    assert conformal.rank(np.arange(9.0)[::-1] + 1) == 8.0
    assert conformal.rank(np.arange(4.0)) == 3.0
    assert conformal.rank(np.arange(2.0)) == 1.0  # too few for 80 %: the largest


def test_intervals_by_hand() -> None:
    # Why: one forecast of 10 for a level of 5; errors of 0, 1, 2, ... 9 and a closed step.
    truth_SOH = 10.0 + np.append(np.arange(10.0), 999.0)[None, None]
    raw_SOHQ = np.full((1, 1, 11, 3), 10.0)
    score_SOH = conformal.scores(raw_SOHQ, truth_SOH, np.array([[5.0]]))
    by_S = conformal.widening(score_SOH, np.arange(11)[None] < 10)
    assert by_S[0] == pytest.approx(8 / 5)  # the ninth of ten
    twice = conformal.widened(raw_SOHQ[:, :, :1], by_S[:, None], np.array([[10.0]]))
    assert twice[0, 0, 0] == pytest.approx([0.0, 10.0, 26.0])  # 10 - 16 is cut at 0


def test_too_wide_intervals_shrink_to_the_median_at_most() -> None:
    # Why: scores are negative where a model is too careful.
    raw = np.array([[[[0.0, 10.0, 40.0]]]])
    ones = np.ones((1, 1))
    assert conformal.widened(raw, -4 * ones, ones)[0, 0, 0] == pytest.approx([4, 10, 36])
    assert conformal.widened(raw, -20 * ones, ones)[0, 0, 0] == pytest.approx([10, 10, 20])


def test_blocks_by_hand() -> None:
    # Why: 100 days leave two windows of 7 to each block, at its very end.
    found = make_blocks(num_days=100, per_day=24, window=28, horizon=7, windows=8, source="x")
    assert (found.valid / 24).tolist() == [72, 79] and (found.test / 24).tolist() == [86, 93]
    assert (found.window, found.horizon) == (28 * 24, 7 * 24)


@pytest.mark.parametrize("num_days", [0, 41, 48])
def test_a_log_shorter_than_its_windows_is_refused(num_days: int) -> None:
    # Why: 28 days to look back, 7 to learn from, 7 to validate on and 7 to test on.
    make_blocks(num_days=49, per_day=1, window=28, horizon=7, windows=8, source="x")
    with pytest.raises(UserError, match=f"x has {num_days} whole days, fewer than the 49 that"):
        make_blocks(num_days=num_days, per_day=1, window=28, horizon=7, windows=8, source="x")


NUM_DAYS = 112
BLOCKS: Blocks = make_blocks(
    num_days=NUM_DAYS, per_day=1, window=28, horizon=7, windows=8, source="x"
)


def panel(seed: int = 0) -> tuple[Panel, Clock]:
    value_ST = np.random.default_rng(seed).poisson(periodic(16)).astype(float)
    given = past(value_ST)
    return Panel("units", "item", ["a", "b"], value_ST, given.start, {}), given.clock


@pytest.mark.parametrize("rolling", [True, False])
def test_no_forecast_heeds_what_comes_after_its_origin(rolling: bool) -> None:
    # Why: a look into the test period makes every table worthless.
    seen, clock = panel()
    last = int(BLOCKS.test[-1])
    later_ST = seen.value.copy()
    later_ST[:, last:] = 1e6
    later = dataclasses.replace(seen, value=later_ST)

    def run(given: Panel, hours: Clock) -> Trial:
        return try_model(lambda: Autoregressive(lags=1), given, hours, BLOCKS, rolling=rolling)

    # nor does it know of a day on which the shop will not have opened
    shut = dataclasses.replace(clock, open=np.arange(NUM_DAYS) != last + 1)
    one, other = run(seen, clock), run(later, shut)
    assert (one.quantile_SOHQ == other.quantile_SOHQ).all()
    assert (one.valid.mase == other.valid.mase).all()
    assert (one.test.mae[:, :-1] == other.test.mae[:, :-1]).all()
    assert (one.test.mae[:, -1] < other.test.mae[:, -1]).all()


def test_rolling_calibration_moves_with_its_origin() -> None:
    # Why: once errors grow in the test block, later intervals there must know.
    given, clock = panel()
    first = int(BLOCKS.test[0])
    value_ST = np.tile(WEEK, 16)[None] + np.zeros((2, 1))
    value_ST[:, first : first + 7] += 50.0  # last week's values then miss by 50 twice
    given = dataclasses.replace(given, value=value_ST)
    width = {
        rolling: try_model(SeasonalNaive, given, clock, BLOCKS, rolling=rolling).test.width[0]
        for rolling in (True, False)
    }
    assert (width[False] == 0).all() and width[True][0] == 0 and width[True][1] > 50


def test_the_validation_block_chooses() -> None:
    # Why: a model that is best in the test block alone must not be chosen.
    given, clock = panel()
    value_ST = periodic(16)
    value_ST[:, BLOCKS.test[0] :] = 0.0
    given = dataclasses.replace(given, value=value_ST)

    class Nothing:
        def fit(self, past: Past) -> None: ...

        def predict(self, past: Past) -> Floats:
            return np.zeros((len(past.value), past.horizon, 3))

    trials = {
        "zeros": try_model(Nothing, given, clock, BLOCKS),
        "last week": try_model(SeasonalNaive, given, clock, BLOCKS),
    }
    assert average(trials["zeros"].test.mae) == 0 < (average(trials["last week"].test.mae) or 0)
    assert choose(trials) == "last week"


def test_the_next_horizon_follows_the_log() -> None:
    # Why: it is what the forecast is for; a closed Wednesday is 0.
    given, clock = panel()
    value_ST = periodic(16)
    value_ST[:, 2::7] = 0.0
    usual_T = np.arange(len(clock.usual)) % 7 != 2
    closed = dataclasses.replace(clock, usual=usual_T, open=usual_T[: len(clock.open)])
    given = dataclasses.replace(given, value=value_ST)
    trial = try_model(SeasonalNaive, given, closed, BLOCKS)
    found_SHQ = forecast_next(SeasonalNaive, trial, given, closed, BLOCKS)
    assert found_SHQ[0, :, 1].tolist() == [5, 3, 0, 6, 9, 20, 12]


def test_resamples_of_everything_once_are_the_average() -> None:
    # Why: the interval must be that of the number beside it, gaps and undefined series included.
    value_SO = np.array([[1.0, 2, 6], [np.nan] * 3, [3.0, 4, 5]])
    once = (np.ones((1, 3)), np.ones((1, 3)))
    assert average(value_SO) == pytest.approx(3.5) == resampled(value_SO, once)[0]
    series_RS, origins_RO = draw(3, 5, resamples=50, seed=0)
    assert (series_RS.sum(1) == 3).all() and (origins_RO.sum(1) == 5).all()
    assert average(np.full((2, 2), np.nan)) is None


def test_the_table_names_what_is_missed() -> None:
    # Why: where a forecast falls short the table must say so.
    good: dict[str, Any] = {"gain": 0.2, "mase": 0.8, "coverage": 0.8}
    assert missed(good) == []
    assert missed({**good, "gain": 0.09, "coverage": 0.9}) == ["MAE -10%", "coverage"]
    assert missed({**good, "mase": None}) == ["MASE 0.9"]
