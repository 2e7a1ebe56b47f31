"""recgym.forecast on small logs: series counted by hand, the command, and arrivals by forecast."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from log_files import write_csv
from tiny import below, call

from recgym.errors import UserError
from recgym.forecast.__main__ import main
from recgym.forecast.arrivals import expected_sessions
from recgym.forecast.blocks import Blocks
from recgym.forecast.clock import Clock
from recgym.forecast.series import (
    check_measures,
    closed_days,
    make_clock,
    make_panel,
    outside_hours,
    whole_days,
)
from recgym.logs.csv import Csv
from recgym.logs.log import Log
from recgym.types import DAY_MS

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
