"""recgym.ads.campaigns: drawn ones, and those that a user lists."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from probe_shop import ProbeShop

from recgym.ads.campaigns import ALWAYS, campaigns_of, draw_campaigns
from recgym.errors import UserError
from recgym.worlds.taste import TasteShop


def test_drawn_values_are_log_normal_with_the_mean_asked_for() -> None:
    # Why: exp of a normal has a mean above its median, and the mean is what is named.
    catalog = TasteShop(num_items=4000).catalog
    found = draw_campaigns(catalog, num_campaigns=4000, mean_value=0.3, spread=0.5)
    std = 0.3 * math.sqrt(math.exp(0.25) - 1.0)  # of a log-normal with that mean
    assert float(found.value.mean()) == pytest.approx(0.3, abs=4 * std / math.sqrt(4000))
    assert float(found.value.log().std()) == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(8000))
    shaded = found.bid / found.value
    assert float(shaded.min()) >= 0.6 and float(shaded.max()) <= 1.0
    assert float(shaded.mean()) == pytest.approx(0.8, abs=0.01)
    budget = found.budget.double().mean() / 1e6
    assert float(budget) == pytest.approx(2.0, abs=0.08)


def test_each_campaign_has_an_item_of_its_own_and_every_advertiser_a_campaign() -> None:
    # Why: an item that stood for two campaigns could be charged to the wrong one.
    found = draw_campaigns(TasteShop(num_items=50).catalog, num_campaigns=50, num_advertisers=7)
    assert len(found.item.unique()) == found.num_campaigns == 50
    assert torch.equal(found.advertiser.unique(), torch.arange(7))
    assert found.num_advertisers == 7


def test_some_campaigns_start_late_and_as_many_stop_early() -> None:
    # Why: a policy must not count on an ad that will be gone tomorrow.
    catalog = TasteShop(num_items=4000).catalog
    found = draw_campaigns(catalog, num_campaigns=4000, part_time=0.25, num_days=30)
    late, early = found.start > 0, found.stop < ALWAYS
    assert not (late & early).any()
    for some in (late, early):
        assert int(some.sum()) == pytest.approx(500, abs=4 * math.sqrt(4000 * 0.125 * 0.875))
    assert found.start[late].unique().tolist() == list(range(1, 30))
    always = draw_campaigns(catalog, num_campaigns=400, part_time=0.0)
    assert (always.start == 0).all() and (always.stop == ALWAYS).all()


def test_the_same_seed_draws_the_same_campaigns() -> None:
    # Why: the learned and the true shop must have one market.
    catalog = TasteShop(num_items=200).catalog
    one, same, other = (draw_campaigns(catalog, seed=seed).packed() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["value"], other["value"])


def test_campaigns_of_a_list_by_hand() -> None:
    # Why: money is counted in whole micros, 0.29 of a currency unit too.
    rows: list[dict[str, Any]] = [
        {"item": 2, "bid": 0.25, "budget": 0.29},
        {"item": 0, "bid": 0.5, "value": 0.75, "budget": 5, "advertiser": 3, "start": 1, "stop": 4},
    ]
    found = campaigns_of(rows, ProbeShop().catalog)
    assert found.item.tolist() == [2, 0]
    assert found.budget.tolist() == [290_000, 5_000_000]
    assert found.value.tolist() == [0.25, 0.75]
    assert found.quality.tolist() == [1.0, 1.0]
    assert (found.start.tolist(), found.stop.tolist()) == ([0, 1], [ALWAYS, 4])
    assert found.num_advertisers == 4


GOOD = {"item": 0, "bid": 0.2, "budget": 1.0}


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], "campaigns: the list is empty; expected at least one"),
        ([{**GOOD, "bid": -0.1}], r"campaigns\[0\].bid=-0.1: expected a number of at least 0."),
        ([{**GOOD, "budget": 0}], r"campaigns\[0\].budget=0: expected a number of at least 1e-06."),
        ([{"item": 0, "bid": 0.2}], r"campaigns\[0\].budget is missing: expected a number."),
        ([GOOD, {**GOOD, "bit": 1}], r"campaigns\[1\].bit is no setting: expected advertiser, bid"),
        ([GOOD, GOOD], r"campaigns\[1\].item=0: another campaign promotes it already"),
        ([{**GOOD, "item": 4}], r"campaigns\[0\].item=4: expected an item from 0 to 3."),
        ([{**GOOD, "start": 3, "stop": 3}], r"campaigns\[0\].stop=3: expected a day after start=3"),
    ],
)
def test_a_bad_list_ends_in_one_sentence(rows: list[dict[str, Any]], sentence: str) -> None:
    # Why: it says which campaign, what is wrong with it and what was expected.
    with pytest.raises(UserError, match=sentence):
        campaigns_of(rows, ProbeShop().catalog)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"num_campaigns": 5}, "num_campaigns=5: expected at most one for each of the 4 items."),
        ({"daily_budget": 0.0}, r"campaigns.daily_budget=0.0: expected a number of at least 1e-"),
        ({"mean_value": -1.0}, r"campaigns.mean_value=-1.0: expected a number of at least"),
        ({"shading": 1.5}, r"campaigns.shading=1.5: expected a number from 0 to 1."),
        ({"num_advertisers": 0}, r"campaigns.num_advertisers=0: expected a whole number of at"),
    ],
)
def test_a_bad_setting_of_the_draw_ends_in_one_sentence(
    settings: dict[str, Any], sentence: str
) -> None:
    # Why: before anything is fitted or simulated.
    with pytest.raises(UserError, match=sentence):
        draw_campaigns(ProbeShop().catalog, **{"num_campaigns": 2, **settings})
