"""agents.ranges: worst, best and means by rho, by hand."""

from __future__ import annotations

import pytest
import torch

from agents.cases import Case
from agents.ranges import described, spread
from agents.valuing import Played
from recgym.metrics import Estimate
from recgym.types import SessionStats

SUMS = ("pages", "views", "impressions", "clicks", "carts", "orders", "revenue", "credited_revenue")


def case(rho: float, seed: int, sessions: int = 4) -> Case:
    stats = SessionStats(
        shopper=torch.arange(sessions), **{name: torch.zeros(sessions) for name in SUMS}
    )
    return Case(rho, seed, {"nothing": Played(stats, 0.0)})


CASES = [case(0.3, 0, 9), case(0.0, 0), case(0.0, 1), case(0.9, 0), case(0.9, 1)]
VALUES = list(zip(CASES, [0.5, -0.2, 0.8, 0.3, 0.5], strict=True))


def test_the_range_by_hand() -> None:
    # Why: the worst case is the number that a decision has to stand on.
    found = spread(VALUES, lambda runs: Estimate(-0.2, -0.4, 0.1))["range"]
    assert (found["worst"], found["best"]) == (-0.2, 0.8)
    assert found["worst_case"] == {"rho": 0.0, "seed": 0, "low": -0.4, "high": 0.1}
    assert found["mean_by_rho"] == pytest.approx({"0": 0.3, "0.3": 0.5, "0.9": 0.4})


def test_where_high_is_bad_the_highest_is_the_worst() -> None:
    # Why: of an exploitation gap.
    found = spread(VALUES, high_is_bad=True)["range"]
    assert (found["worst"], found["best"]) == (0.8, -0.2)
    assert found["worst_case"] == {"rho": 0.0, "seed": 1}


def test_what_is_undefined_in_a_shop_is_left_out_and_without_cases_there_is_no_range() -> None:
    # Why: a click-through rate of empty pages is no 0.
    assert spread([]) == {}
    assert spread([(one, None) for one in CASES]) == {"range": None}
    found = spread([(CASES[0], None), (CASES[1], 2.0)])["range"]
    assert (found["worst"], found["best"], found["mean_by_rho"]) == (2.0, 2.0, {"0": 2.0})


def test_a_summary_says_which_assumptions_were_tried() -> None:
    # Why: "in all shops" means nothing without their list.
    assert described(CASES) == {
        "base": {"rho": 0.3, "seed": 0, "sessions": 9},
        "rho": [0.0, 0.3, 0.9],
        "seeds": [0, 1],
        "shops": 5,
        "sessions": 4,
    }
