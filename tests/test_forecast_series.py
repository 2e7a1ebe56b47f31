"""recgym.forecast on small logs: series counted by hand, the command, and arrivals by forecast."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from log_files import write_csv
from probe_shop import learned_shop
from tiny import below, call

from recgym.errors import UserError
from recgym.forecast.__main__ import main
from recgym.forecast.arrivals import Arriving, expected_sessions, num_shoppers
from recgym.forecast.blocks import Blocks
from recgym.forecast.clock import Clock
from recgym.forecast.models.ets import Ets
from recgym.forecast.models.seasonal_naive import SeasonalNaive
from recgym.forecast.series import (
    Panel,
    check_measures,
    closed_days,
    make_clock,
    make_panel,
    outside_hours,
    whole_days,
)
from recgym.forecast.trial import try_model
from recgym.logs.base import Log
from recgym.logs.csv import Csv
from recgym.simulator import Simulator
from recgym.types import DAY_MS, HOUR_MS
from recgym.worlds.arrivals import arrivals, busy_days, busy_hours
from recgym.worlds.catalogue import START_MS
from recgym.worlds.knobs import Knobs

MONDAY_S = 1_704_067_200  # 2024-01-01
NUM_DAYS = 37  # and the first and last, which are left out
BLOCKS = Blocks(window=7, horizon=7, valid=np.array([21]), test=np.array([28]))
Rows = list[dict[str, Any]]


def row(day: float, name: str, item: str, price: float, pieces: int, session: object) -> Any:
    moment = MONDAY_S + round(day * 86_400)
    kind = {"A": "bags", "B": "bags", "C": "toys", "D": "toys"}[item]
    return {
        "shopper": f"u{session}", "session": session, "time": moment, "event": name, "item": item,
        "price": price, "quantity": pieces, "category": kind,
    }  # fmt: skip


def shop_rows() -> Rows:
    """Bag A sells daily but on Sundays, C from day 18 on; B is viewed alone; D sells at the end."""
    rows = []
    for day in range(NUM_DAYS):
        if day % 7 == 6 or day == 16:  # Sundays, and a Wednesday without anything
            continue
        rows.append(row(day + 0.4, "view", "A", 10, 1, f"{day}a"))
        rows.append(row(day + 0.41, "purchase", "A", 10, 2 + day % 7, f"{day}a"))
        rows.append(row(day + 0.6, "view", "B", 5, 1, f"{day}b"))
        rows.append(row(day + 0.61, "view", "A", 10, 1, f"{day}b"))
        if day >= 18:
            rows.append(row(day + 0.62, "purchase", "C", 7, 1, f"{day}b"))
    rows.append(row(27.5, "purchase", "D", 1, 1, "27b"))  # a Sunday, in the validation block
    return rows


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    folder = tmp_path_factory.mktemp("series")
    return Csv(path=str(write_csv(folder / "log.csv", shop_rows()))).clean(folder / "log")


@pytest.fixture(scope="module")
def clock(log: Log) -> Clock:
    begin, num_days = whole_days(log, None)
    assert num_days == NUM_DAYS - 2
    return make_clock(log, "day", BLOCKS, begin, num_days)


def test_days_begin_after_the_first_and_end_before_the_last(log: Log, clock: Clock) -> None:
    # Why: a log may begin and end within a day, which would count as a quiet one.
    assert clock.time(0) == "2024-01-02" and clock.time(clock.num_steps - 1) == "2024-02-05"
    assert clock.weekday(np.array([0, 5, 6])).tolist() == [1, 6, 0]
    assert clock.day_of_month(np.array([0, 29, 30])).tolist() == [2, 31, 1]
    assert whole_days(log, "2024-01-12")[1] == 10
    with pytest.raises(UserError, match="until=soon: expected a day"):
        whole_days(log, "soon")


def test_closed_weekdays_and_days_without_anything(log: Log, clock: Clock) -> None:
    # Why: Sundays never sold before the validation block; on Wednesday 17 nothing was open.
    sundays = np.arange(clock.num_steps) % 7 == 5
    assert not clock.open[: clock.num_steps][sundays].any()
    assert not clock.open[15] and clock.open[14] and clock.open[8]
    assert clock.usual[15] and not clock.usual[26]
    assert clock.usual[clock.num_steps :].tolist() == [True, True, True, True, True, False, True]
    # the Sunday with a sale is not a day without events, and still closed
    assert np.flatnonzero(closed_days(log, clock)).tolist() == [5, 12, 15, 19, 33]
    assert outside_hours(log, clock) == 1


@pytest.mark.parametrize(
    ("measure", "level", "expected"),
    [
        # Tuesday to Monday from step 0 on; closed Wednesday 15 takes the value of step 8
        ("units", "shop", [3, 4, 5, 6, 7, 0, 2]),
        ("revenue", "category", [30, 40, 50, 60, 70, 0, 20]),
        ("views", "item", [2, 2, 2, 2, 2, 0, 2]),
        ("sessions", "shop", [2, 2, 2, 2, 2, 0, 2]),
        ("sessions", "item", [2, 2, 2, 2, 2, 0, 2]),
    ],
)
def test_series_by_hand(
    log: Log, clock: Clock, measure: str, level: str, expected: list[int]
) -> None:
    # Why: what is forecast must be what the log says was sold and visited.
    found = make_panel(log, measure, level, clock, BLOCKS, 40)
    assert found.names[0] == {"shop": "shop", "category": "bags", "item": "A"}[level]
    assert found.value[0, :7].tolist() == expected
    assert found.value[0, 15] == expected[1] and found.start[0] == 0
    assert found.value[0, 26] == 0  # sold while closed: neither learned from nor scored


def test_series_that_cannot_be_forecast_are_set_aside_with_their_reason(
    log: Log, clock: Clock
) -> None:
    # Why: C begins at step 17, less than a window and a horizon before 21; D only after it.
    found = make_panel(log, "units", "item", clock, BLOCKS, 40)
    assert found.names == ["A"]
    assert found.set_aside == {
        "nothing before the validation block": 1,
        "begins too late for a window and a horizon": 1,
    }
    assert make_panel(log, "views", "item", clock, BLOCKS, 1).set_aside == {"beyond max_series": 1}


def test_hours_are_steps_too(log: Log) -> None:
    # Why: events come at 9 h and 14 h only, so that the shop is open for two hours.
    begin, num_days = whole_days(log, None)
    blocks = Blocks(7 * 24, 7 * 24, BLOCKS.valid * 24, BLOCKS.test * 24)
    hours = make_clock(log, "hour", blocks, begin, num_days)
    found = make_panel(log, "views", "shop", hours, blocks, 1)
    assert np.flatnonzero(hours.open[:24]).tolist() == [9, 14]
    assert found.value[0, :24].nonzero()[0].tolist() == [9, 14]
    assert found.value[0, [9, 14]].tolist() == [1, 2]
    assert hours.time(33) == "2024-01-03T09"


def test_a_measure_that_the_log_lacks_is_refused(tmp_path: Path) -> None:
    # Why: a table of zeros would look like a forecast.
    rows = [r | {"price": None} for r in shop_rows() if r["event"] == "purchase"]
    bare = Csv(path=str(write_csv(tmp_path / "log.csv", rows))).clean(tmp_path / "log")
    assert check_measures(bare, None) == ["units", "sessions"]
    with pytest.raises(UserError, match=r"holds no prices, so it has no revenue; .* units, ses"):
        check_measures(bare, ["revenue"])
    with pytest.raises(UserError, match="holds no views, so it has no views"):
        check_measures(bare, ["units", "views"])


# ---- the command ---------------------------------------------------------------------------------


def test_the_command_leaves_a_table_series_forecasts_and_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Why: the whole way, as a user goes it.
    write_csv(tmp_path / "log.csv", shop_rows())
    call(
        main, "log=csv", f"log.path={tmp_path}/log.csv", "use=[seasonal_naive,autoregressive]",
        "window=14", "horizon=5", "levels=[shop,item]", "measures=[units,sessions]",
        "resamples=20", *below(tmp_path),
    )  # fmt: skip
    said, folder = capsys.readouterr().out, tmp_path / "run"
    assert "units by shop, 1 series" in said and "* chosen on the 1 before" in said
    found = json.loads((folder / "forecast.json").read_text())
    assert found["schema_version"] == 1 and found["span"]["test"] == "2024-02-01"
    rows = {(r["measure"], r["level"], r["model"]): r for r in found["table"]}
    assert len(rows) == len(found["table"]) == 8
    # sales repeat every week: last week's values are exact, and nothing can be below 0
    naive = rows["units", "item", "seasonal_naive"]
    assert naive["mae"] == 0 and naive["gain"] is None and naive["missed"][0] == "MAE -10%"
    with (folder / "next.csv").open() as stream:
        ahead = [
            r for r in csv.DictReader(stream) if (r["measure"], r["level"]) == ("units", "shop")
        ]
    assert [r["time"] for r in ahead] == [f"2024-02-{day:02}" for day in range(6, 11)]
    assert sorted(p.name for p in folder.glob("*.png")) == [
        "models.png", "sessions_by_item.png", "sessions_by_shop.png", "units_by_item.png",
        "units_by_shop.png",
    ]  # fmt: skip
    expected, start_ms, step_ms = expected_sessions(folder)
    assert (len(expected), start_ms, step_ms) == (5, (MONDAY_S + 36 * 86_400) * 1000, DAY_MS)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("window=10", "window=10: expected whole weeks"),
        ("step=week", "step=week: expected one of day, hour"),
        ("use=[prophet]", "expected a list of some of seasonal_naive, autoregressive"),
        ("levels=[]", "levels=[]: expected a list of some of shop, category, item"),
        ("horizon=0", "horizon=0: expected a whole number of at least 1"),
        ("models.lstm.epochs=0", "models.lstm.epochs=0: expected a whole number of at least 1"),
        ("calibration=none", "calibration=none: expected one of rolling, fixed"),
        ("measures=[money]", "expected a list of some of units, revenue, sessions, views"),
        ("window=28", "has 35 whole days, fewer than the 49 that window=28 and horizon=7 need"),
    ],
)
def test_a_bad_setting_ends_in_a_sentence(
    override: str, named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Why: what, where, expected, remedy; and no traceback.
    write_csv(tmp_path / "log.csv", shop_rows())
    with pytest.raises(SystemExit):
        call(main, "log=csv", f"log.path={tmp_path}/log.csv", override, *below(tmp_path))
    said = capsys.readouterr().err.strip()
    assert said.startswith("error: ") and named in said and len(said.splitlines()) == 1


# ---- seasons of a true shop ----------------------------------------------------------------------


def starts(week: float, num: int, num_days: int = 112) -> Any:
    knobs = Knobs(week=week, num_days=num_days)
    seed_N = torch.arange(num)
    return arrivals(seed_N, torch.zeros_like(seed_N), knobs, torch.float32).start_ms


def test_without_its_knob_the_week_changes_nobody_s_arrival() -> None:
    # Why: logs that were written before the knob must stay those logs; ms of the law before it.
    found = starts(0.0, 3, 56) - START_MS
    assert found.tolist() == BEFORE
    assert (busy_days(Knobs(num_days=7)) == 1).all()


BEFORE = [674_257_835, 1_166_719_867, 4_347_065_856]


def test_saturdays_are_as_busy_as_the_knob_says() -> None:
    # Why: a known season, for forecasts to find. 1 + 0.8 on Saturdays, 1 - 0.8 cos(pi/7) midweek.
    day_N = (starts(0.8, 20_000) - START_MS) // DAY_MS
    share_7 = torch.bincount(day_N % 7, minlength=7) / 20_000
    expected_7 = busy_days(Knobs(week=0.8, num_days=7)) / 7
    assert expected_7[5] == pytest.approx(1.8 / 7) and expected_7[1] == pytest.approx(
        0.2792 / 7, abs=1e-4
    )
    assert torch.allclose(share_7.double(), expected_7, atol=0.012)


def test_forecasts_recover_the_known_seasons_of_a_true_shop() -> None:
    # Why: against the law itself, not against noisy counts, an average over weeks must be nearer
    # than last week alone: by sqrt(4) where four weeks are averaged.
    num, num_days = 40_000, 112
    start_N = starts(0.5, num, num_days) - START_MS
    count_T = torch.bincount(start_N // DAY_MS, minlength=num_days).double().numpy()[None]
    law_T = busy_days(Knobs(week=0.5, num_days=num_days)).numpy() * num / num_days
    clock = Clock(
        "day", START_MS, num_days, np.ones(num_days + 7, dtype=bool), np.ones(num_days, dtype=bool)
    )
    blocks = Blocks(28, 7, np.arange(56, 84, 7), np.arange(84, 112, 7))
    panel = Panel("sessions", "shop", ["shop"], count_T, np.array([0]), {})

    def error(make: Any) -> float:
        median_T = try_model(make, panel, clock, blocks).quantile_SOHQ[0, ..., 1].ravel()
        return float(np.abs(median_T - law_T[84:]).mean() / law_T.mean())

    assert error(Ets) < 0.5 * error(SeasonalNaive) and error(Ets) < 0.03


def test_the_busy_hours_are_those_of_the_law() -> None:
    # Why: traffic by the hour has a season in every true shop.
    hour_N = starts(0.0, 20_000) % DAY_MS // HOUR_MS
    share_24 = torch.bincount(hour_N, minlength=24).double() / 20_000
    assert busy_hours()[[20, 8]].tolist() == pytest.approx([1.7, 0.3])
    assert torch.allclose(share_24, busy_hours() / 24, atol=0.006)


# ---- arrivals by forecast ------------------------------------------------------------------------


def test_shoppers_arrive_as_expected_and_are_the_same_ones() -> None:
    # Why: the forecast decides when, the shop who; a step without sessions gets nobody.
    inner = learned_shop()
    shop = Arriving(inner, [0.0, 3.0, 1.0], START_MS, HOUR_MS)
    seed_N = torch.arange(4000)
    first_N = torch.zeros_like(seed_N)
    found = shop.arrive(seed_N, first_N)
    step_N = (found.start_ms - START_MS) // HOUR_MS
    assert torch.bincount(step_N).tolist()[0] == 0 and int(step_N.max()) == 2
    assert float((step_N == 1).double().mean()) == pytest.approx(0.75, abs=0.02)
    assert torch.equal(found.profile, inner.arrive(seed_N, first_N).profile)
    some = torch.tensor([7, 3])
    assert torch.equal(shop.arrive(some, torch.zeros_like(some)).start_ms, found.start_ms[some])
    assert num_shoppers(shop.expected, seed=0) == np.random.default_rng(0).poisson(4.0)


def test_a_shop_with_arrivals_of_its_own_is_simulated_like_any_other() -> None:
    # Why: the wrapper must answer to all that a simulator asks of a shop.
    shop: Any = Arriving(learned_shop(), [1.0], START_MS + 5 * DAY_MS, DAY_MS)
    simulator = Simulator(shop, num_slots=2)
    seed_N = torch.arange(3)
    state = simulator.reset(seed_N, torch.zeros_like(seed_N))
    assert ((state.arrival.start_ms - START_MS) // DAY_MS).tolist() == [5, 5, 5]
    page = simulator.page(state, torch.tensor([[0, 1]] * 3))
    assert len(simulator.step(state, page)[1].revenue) == 3


def test_a_forecast_of_nothing_drives_no_arrivals(tmp_path: Path) -> None:
    # Why: bad input ends in a sentence.
    for expected in ([0.0, 0.0], [1.0, -1.0]):
        with pytest.raises(UserError, match="expected sessions"):
            Arriving(learned_shop(), expected, START_MS, DAY_MS)
    with pytest.raises(UserError, match=r"holds no forecast\.json"):
        expected_sessions(tmp_path)
