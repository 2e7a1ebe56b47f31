"""recgym.ads.metrics and recgym.ads.rewards: figures worked out by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from recgym.ads import metrics
from recgym.ads.metrics import AD_METRICS
from recgym.ads.records import PARTS, AdOutcome
from recgym.ads.rewards import AdReward, RewardWeights
from recgym.ads.stats import MOST_ADS, SLOT_SUMS, AdStats, CampaignSums
from recgym.errors import UserError
from recgym.types import Event, Outcome, Page

D = torch.float64


def row(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=D)


def whole(*values: int) -> torch.Tensor:
    return torch.tensor(values)


def stats(**changed: Any) -> AdStats:
    """Two shoppers: one saw 3 pages of 10 slots with 4 ads in 2 sessions, one 1 page with none."""
    session_ads = torch.zeros(MOST_ADS + 1, dtype=torch.int64)
    session_ads[[0, 4]] = whole(2, 1)
    slots = torch.zeros(2, len(SLOT_SUMS), 2, dtype=D)
    slots[0, SLOT_SUMS.index("shown")] = row(3, 3)
    slots[0, SLOT_SUMS.index("clicked")] = row(2, 0)
    slots[1, SLOT_SUMS.index("shown")] = row(1, 0)
    campaigns = CampaignSums(
        entered=whole(4, 4, 2), impressions=whole(3, 1, 0), clicks=whole(1, 0, 0),
        orders=whole(1, 0, 0), spend=whole(600_000, 0, 0), sales=row(9.0, 0.0, 0.0),
        budget=whole(1_000_000, 1_000_000, 1_000_000), off_pace=row(1.0, 1.0, 2.0),
        running=whole(4, 4, 8), session_ads=session_ads,
    )  # fmt: skip
    base = AdStats(
        shopper=whole(7, 8), pages=row(3, 1), impressions=row(30, 10), wanted=row(5, 0),
        ads=row(4, 0), clicks=row(2, 1), ad_clicks=row(1, 0), orders=row(1, 0),
        revenue=row(12.0, 0.0), sponsored_sales=row(9.0, 0.0), ad_micros=whole(600_000, 0),
        parts=torch.tensor([[0.6, 0.3, 0.9, -2.0, 1.0], [0.0, 0.0, 0.0, 0.0, -1.0]], dtype=D),
        slots=slots, sessions=row(2, 1), converted=row(1, 0), left=row(2, 1), chances=row(2, 1),
        back_1=row(0, 0), back_7=row(1, 0), campaigns=campaigns,
    )  # fmt: skip
    return dataclasses.replace(base, **changed)


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("ad_revenue_per_session", 0.2),  # 0.6 / 3
        ("ad_revenue_per_shopper", 0.3),
        ("rpm", 15.0),  # 1000 · 0.6 / 40
        ("revenue_per_session", 4.0),
        ("revenue_per_shopper", 6.0),
        ("sponsored_sales_per_session", 3.0),
        ("conversion_rate", 1 / 3),
        ("click_through_rate", 0.075),
        ("ad_click_through_rate", 0.25),
        ("ad_load", 0.1),
        ("fill_rate", 0.8),
        ("leave_rate", 0.75),
        ("pages_per_session", 4 / 3),
        ("sessions_per_shopper", 1.5),
        ("return_1_day", 0.0),
        ("return_7_day", 1 / 3),
        ("satisfaction", -0.5),
    ],
)
def test_each_metric_by_hand(metric: str, expected: float) -> None:
    # Why: the README's table says the same in words.
    assert metrics.estimate(stats(), metric).mean == pytest.approx(expected)


def test_every_metric_has_its_figure_above() -> None:
    # Why: a new one needs a number worked out by hand.
    named = test_each_metric_by_hand.pytestmark[0].args[1]  # type: ignore[attr-defined]
    assert {name for name, _ in named} == set(AD_METRICS)


def test_a_metric_without_anything_to_divide_by_is_undefined() -> None:
    # Why: pages without ads have no fill rate, and 0 would be taken for the worst one.
    none = stats(wanted=row(0, 0), ads=row(0, 0))
    assert metrics.estimate(none, "fill_rate").mean is None
    assert metrics.difference(stats(), none, "fill_rate").mean is None


def test_increments_are_net_of_what_ads_displace() -> None:
    # Why: by hand; 0.6 of ads less a tenth of the 4 sold without them is 0.2, of two shoppers.
    without = stats(revenue=row(16.0, 0.0), ad_micros=whole(0, 0))
    assert metrics.incremental_ad_revenue(stats(), without, 0.1).mean == pytest.approx(0.1)
    assert metrics.iroas(stats(), without).mean == pytest.approx(-4.0 / 0.6)
    assert metrics.difference(stats(), without, "ad_revenue_per_session").mean == pytest.approx(0.2)


def test_other_shoppers_are_refused() -> None:
    # Why: a difference between strangers is noise.
    other = stats(shopper=whole(7, 9))
    for compare in (
        lambda: metrics.difference(stats(), other, "rpm"),
        lambda: metrics.incremental_ad_revenue(stats(), other, 0.1),
        lambda: metrics.iroas(stats(), other),
    ):
        with pytest.raises(ValueError, match="the same shoppers"):
            compare()


def test_click_through_by_slot() -> None:
    # Why: by hand; 2 clicks of 4 at the top, none of 3 below.
    assert [e.mean for e in metrics.by_slot(stats(), "clicked", "shown")] == [0.5, 0.0]
    assert [e.mean for e in metrics.by_slot(stats(), "ad_clicked", "ads")] == [None, None]


def test_what_advertisers_got() -> None:
    # Why: by hand; Gini of 3, 1, 0: sorted (0, 1, 3) · (-2, 0, 2) = 6, by 3 · 4.
    found = metrics.advertising(stats())
    assert found == {
        "spend": pytest.approx(0.6),
        "budget_use": pytest.approx(0.2),
        "pacing_error": pytest.approx(0.25),
        "cost_per_click": pytest.approx(0.6),
        "cost_per_order": pytest.approx(0.6),
        "roas": pytest.approx(15.0),
        "win_rate": pytest.approx(0.4),
        "gini_of_impressions": pytest.approx(0.5),
    }
    assert metrics.gini(whole(5, 5, 5)) == 0.0 and metrics.gini(whole(0, 0)) is None


def test_percentile_of_ads_in_a_session() -> None:
    # Why: by hand; of 3 sessions two have no ad, so 60 % have none and 95 % at most 4.
    assert metrics.ads_per_session(stats()) == 4
    assert metrics.ads_per_session(stats(), 0.6) == 0
    twenty = torch.zeros(MOST_ADS + 1, dtype=torch.int64)
    twenty[[1, 9]] = whole(19, 1)
    many = stats(campaigns=dataclasses.replace(stats().campaigns, session_ads=twenty))
    assert metrics.ads_per_session(many) == 1


def test_hypervolume_of_a_front() -> None:
    # Why: by hand; (3, 1) and (1, 2) above (0, 0) dominate 3 + 1, and (1, 1) adds nothing.
    points = np.array([[3.0, 1.0], [1.0, 2.0], [1.0, 1.0]])
    assert metrics.hypervolume(points, (0.0, 0.0)) == pytest.approx(4.0)
    assert metrics.hypervolume(points, (2.0, 0.5)) == pytest.approx(0.5)
    assert metrics.hypervolume(points[:0], (0.0, 0.0)) == 0.0


def test_the_front_by_hand() -> None:
    # Why: (1, 1) is dominated by (2, 1); two equal points stay both.
    assert metrics.on_front([(1, 3), (2, 1), (1, 1), (2, 1)]) == [True, True, False, True]
    assert metrics.on_front([(1, 3, -0.2), (1, 3, -0.1)]) == [False, True]


def outcome() -> AdOutcome:
    """A page of 4 items with an ad in slot 2; it cost 0.25, and 8 of 20 sold are credited to it."""
    zero, none = row(0.0), whole(0)
    event = Event(whole(2), whole(5), whole(1), none, zero, zero, zero)
    page = Page(whole(1, 5, 2, 3).unsqueeze(0), torch.ones(1, 4, dtype=D))
    yes = torch.ones(1, dtype=torch.bool)
    brought = Outcome(
        event=event, page=page, impressions=whole(4), clicked=yes, carted=~yes, bought=row(1.0),
        revenue=row(20.0), chosen_revenue=zero, expected_revenue=zero, credited_revenue=zero,
        left=~yes, gone=~yes, doubt=zero,
    )  # fmt: skip
    return AdOutcome(
        outcome=brought, campaign=torch.tensor([[-1, 6, -1, -1]]),
        charge=torch.tensor([[0, 250_000, 0, 0]]), order_charge=torch.zeros(1, 7).long(),
        clicked_campaign=whole(6), sponsored_sales=row(8.0), campaign_sales=torch.zeros(1, 7),
        tired=row(0.7), parts=torch.zeros(1, len(PARTS)),
    )  # fmt: skip


def test_parts_and_scalar_of_a_reward_by_hand() -> None:
    # Why: 0.25 of ads; a tenth of 12 and of 8; 0.7 of tiredness; 1 - 0.2 · 4 beyond the cap.
    reward = AdReward(
        RewardWeights(ad_revenue=2.0, sponsored_sales=0.5, satisfaction=0.1), load_cap=0.2
    )
    part_NW = reward.parts(outcome())
    assert part_NW[0].tolist() == pytest.approx([0.25, 1.2, 0.8, -0.7, 0.2])
    # 0.5 + 1.2 + 0.4 - 0.07 - 3 · 0.2
    assert reward.scalar(part_NW, torch.tensor(3.0)).item() == pytest.approx(1.43)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"take_rate": 1.5}, "weights.take_rate=1.5: expected a number from 0 to 1"),
        ({"satisfaction": -1.0}, "weights.satisfaction=-1.0: expected a number of at least 0"),
        ({"ad_revenue": "much"}, "weights.ad_revenue=much: expected a number"),
    ],
)
def test_wrong_weights_are_refused(settings: dict[str, Any], message: str) -> None:
    # Why: a negative weight would pay for tiring shoppers.
    with pytest.raises(UserError, match=message):
        RewardWeights(**settings)
    with pytest.raises(UserError, match=r"reward\.load_cap=-0\.1"):
        AdReward(load_cap=-0.1)
