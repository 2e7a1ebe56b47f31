"""recgym.metrics: policies are ranked by these ratios, so they are computed a second time here."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from recgym.metrics import (
    METRICS,
    UNDEFINED,
    Estimate,
    difference,
    estimate,
    incremental_revenue,
    kendall_tau,
)
from recgym.types import SessionStats


def stats(num: int = 4, **columns: list[float]) -> SessionStats:
    """Sessions with these sums; every other one is 0, pages are 1."""
    names = ("views", "impressions", "clicks", "carts", "orders", "revenue", "credited_revenue")
    values = {name: torch.tensor(columns.get(name, [0.0] * num)) for name in names}
    return SessionStats(shopper=torch.arange(num), pages=torch.ones(num), **values)


FOUR = stats(
    views=[3.0, 5.0, 2.0, 2.0],
    impressions=[10.0, 20.0, 0.0, 10.0],
    clicks=[1.0, 2.0, 0.0, 1.0],
    carts=[0.0, 2.0, 0.0, 1.0],
    orders=[0.0, 2.0, 0.0, 1.0],
    revenue=[0.0, 50.0, 0.0, 10.0],
    credited_revenue=[4.0, 20.0, 6.0, 10.0],
)


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("conversion_rate", 0.5),  # 2 of 4 sessions
        ("revenue_per_session", 10.0),  # 40 / 4
        ("realised_revenue_per_session", 15.0),  # 60 / 4
        ("average_order_value", 20.0),  # 60 / 3 orders
        ("click_through_rate", 0.1),  # 4 / 40 impressions
        ("cart_rate", 0.25),  # 3 / 12 views
        ("session_length", 3.0),  # 12 / 4
        ("revenue_per_shopper", 10.0),  # as a session: each shopper has one
        ("sessions_per_shopper", 1.0),
    ],
)
def test_ratios_by_hand(metric: str, value: float) -> None:
    # Why: a ratio of sums, not a mean of ratios: sessions without impressions have no rate.
    found = estimate(FOUR, metric)
    assert found.mean == pytest.approx(value)
    assert found.low is not None and found.high is not None
    assert found.low <= value <= found.high


def test_every_metric_has_a_number_by_hand() -> None:
    # Why: a new metric must come with one.
    marks = test_ratios_by_hand.pytestmark  # type: ignore[attr-defined]
    assert {case[0] for case in marks[0].args[1]} == set(METRICS)


@pytest.mark.parametrize("metric", ["click_through_rate", "average_order_value", "cart_rate"])
def test_what_has_no_denominator_is_undefined(metric: str) -> None:
    # Why: a policy that shows nothing has no click-through rate, and 0 would rank it last.
    assert estimate(stats(), metric) == UNDEFINED == Estimate(None, None, None)
    assert difference(FOUR, stats(), metric) == UNDEFINED
    assert UNDEFINED.as_dict() == {"mean": None, "low": None, "high": None}


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    # Why: the verdict rests on them. 100 samples of 500 normal values of mean 3: 95 intervals are
    # expected to cover, sd 2.2.
    generator = torch.Generator().manual_seed(0)
    covered = 0
    for _ in range(100):
        value = 3.0 + torch.randn(500, generator=generator)
        found = estimate(stats(500, credited_revenue=value.tolist()), "revenue_per_session")
        assert found.low is not None and found.high is not None
        covered += found.low <= 3.0 <= found.high
    assert 88 <= covered <= 100


def test_an_interval_has_the_width_of_its_standard_error() -> None:
    # Why: by hand, 10,000 values of sd 1 give 3 +- 1.96 / 100.
    value = 3.0 + torch.randn(10_000, generator=torch.Generator().manual_seed(1))
    found = estimate(stats(10_000, credited_revenue=value.tolist()), "revenue_per_session")
    assert found.low is not None and found.high is not None
    assert (found.high - found.low) / 2 == pytest.approx(0.0196, rel=0.15)


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_a_policy_against_itself_differs_by_exactly_nothing(metric: str) -> None:
    # Why: common random numbers; any other number would be noise passed off as a gain.
    assert difference(FOUR, FOUR, metric) == Estimate(0.0, 0.0, 0.0)


def test_differences_are_paired() -> None:
    # Why: the same shoppers under both policies; what varies among them must cancel. By hand: each
    # of 1,000 sessions earns exactly 0.5 more.
    value = 100.0 * torch.rand(1000, generator=torch.Generator().manual_seed(0)).round(decimals=2)
    low = stats(1000, credited_revenue=value.tolist())
    high = stats(1000, credited_revenue=(value + 0.5).tolist())
    found = incremental_revenue(high, low)
    assert found.mean == pytest.approx(0.5, abs=1e-5)
    assert found.low == pytest.approx(0.5, abs=1e-3) and found.high == pytest.approx(0.5, abs=1e-3)


def test_other_shoppers_are_refused() -> None:
    # Why: a difference over different shoppers measures the shoppers.
    other = SessionStats(**{**vars(FOUR), "shopper": FOUR.shopper.flip(0)})
    with pytest.raises(ValueError, match="same shoppers in the same order"):
        difference(FOUR, other, "conversion_rate")


def test_the_seed_decides_the_interval() -> None:
    # Why: two runs with one seed must give one summary.
    value = torch.rand(300, generator=torch.Generator().manual_seed(2)).tolist()
    sample = stats(300, credited_revenue=value)
    first, same, other = (estimate(sample, "revenue_per_session", seed) for seed in (0, 0, 1))
    assert first == same and first.mean == other.mean and first.low != other.low


def test_kendall_tau_by_hand() -> None:
    # Why: of the six pairs of 1, 2, 3, 4 against 1, 3, 2, 4 five agree and one does not: 4 / 6.
    assert kendall_tau([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(4 / 6)
    assert kendall_tau([1, 2, 3], [3, 2, 1]) == -1.0
    assert kendall_tau([1.0], [1.0]) is None
    assert kendall_tau([1, 1, 1], [1, 2, 3]) is None


def test_of_several_sessions_a_row_is_a_shopper() -> None:
    # Why: policies are ranked by what a shopper brings over all sessions, and a ratio per session
    # must not take a shopper for one. By hand: 40 in 4 shoppers' 10 sessions, 3 of them converted.
    four = dataclasses.replace(
        FOUR,
        sessions=torch.tensor([1.0, 4.0, 3.0, 2.0]),
        converted=torch.tensor([0.0, 2.0, 0.0, 1.0]),
    )
    by_hand = {
        "revenue_per_shopper": 10.0,
        "revenue_per_session": 4.0,
        "realised_revenue_per_session": 6.0,
        "sessions_per_shopper": 2.5,
        "conversion_rate": 0.3,
        "session_length": 1.2,
    }
    for metric, value in by_hand.items():
        assert estimate(four, metric).mean == pytest.approx(value), metric
