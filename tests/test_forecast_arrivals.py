"""Forecasts and arrivals: the known seasons of a true shop, and shoppers who come as forecast."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from probe_shop import learned_shop

from recgym.errors import UserError
from recgym.forecast.arrivals import Arriving, expected_sessions, num_shoppers
from recgym.forecast.blocks import Blocks
from recgym.forecast.clock import Clock
from recgym.forecast.models.ets import Ets
from recgym.forecast.models.seasonal_naive import SeasonalNaive
from recgym.forecast.series import Panel
from recgym.forecast.trial import try_model
from recgym.simulator import Simulator
from recgym.types import DAY_MS, HOUR_MS
from recgym.worlds.arrivals import arrivals, busy_days, busy_hours
from recgym.worlds.catalogue import START_MS
from recgym.worlds.knobs import Knobs

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
