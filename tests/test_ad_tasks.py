"""recgym.ads.tasks: what an agent decides, and that options say what would come of it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from recgym.ads import auction
from recgym.ads.campaigns import campaigns_of
from recgym.ads.estimates import FlatCtr
from recgym.ads.market import AdMarket
from recgym.ads.options import TOTALS, feature_names
from recgym.ads.placement import PlacementRules
from recgym.ads.records import Market, Request
from recgym.ads.tasks import TASKS, Task, task_named
from recgym.envs.ads import AdCore, open_ad_core
from recgym.errors import UserError
from recgym.worlds.taste import TasteShop

D = torch.float64
K = 4
RULES = PlacementRules(min_distance=2, max_ads=2)
# scores bid · 0.1: the first pays the second's bid, the second the third's
BIDS = (0.5, 0.4, 0.3)


def market_of(**settings: Any) -> AdMarket:
    catalog = TasteShop(num_items=40, dtype=D).catalog
    rows = [{"item": 10 + a, "bid": bid, "budget": 5.0} for a, bid in enumerate(BIDS)]
    made = {"rules": RULES, "num_slots": K, "error": 0.0, "reserve": 0.1, "dtype": D}
    return AdMarket(
        campaigns_of(rows, catalog), catalog, **{**made, "num_candidates": 3, **settings}
    )


def asked(market: AdMarket, lanes: int = 1) -> tuple[Request, Market]:
    """A request for ads beside the items 0 to 3, each ad clicked with chance 0.1 at the top."""
    core = open_ad_core(TasteShop(num_items=40, dtype=D), num_envs=lanes, num_slots=K)
    base = core.reset(0).base
    ledger = market.begin(base.visit.time_ms)
    organic_NK = torch.arange(K).expand(lanes, -1)
    return market.request(ledger, base, organic_NK, FlatCtr(0.1)), ledger


def one(value: int | list[Any], dtype: torch.dtype = torch.int64) -> Tensor:
    return torch.tensor([value], dtype=dtype)


def feature(task: Task, values: Tensor, name: str) -> Tensor:
    return values[..., feature_names(task.num_slots).index(name)]


def test_allocations_are_the_legal_sets_of_slots() -> None:
    # Why: by hand; of the slots 2, 3 and 4 only 2 and 4 lie two apart.
    task = task_named("allocate", market_of())
    request, ledger = asked(task.market)
    options = task.options(request, ledger)
    assert options.place[0].int().tolist() == [
        [0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 1, 0, 1],
    ]  # fmt: skip
    assert options.num_ads.tolist() == [[0, 1, 1, 1, 2]]
    assert options.allowed.all()


def test_what_an_option_pays_is_worked_out_by_hand() -> None:
    # Why: rules choose by this number alone. The best ad stands in slot 2 and pays the next bid:
    # 0.1 / sqrt(2) clicks of 0.4; the second one in slot 4 has 0.1 / 2 clicks of 0.3.
    task = task_named("allocate", market_of())
    options = task.options(*asked(task.market))
    assert options.payment[0].tolist() == pytest.approx(
        [0.0, 0.0282843, 0.0230940, 0.02, 0.0432843], abs=1e-6
    )
    both = options.feature[0, 4]
    assert feature(task, both, "payment").item() == pytest.approx(0.0432843, abs=1e-6)
    assert feature(task, both, "payment_4").item() == pytest.approx(0.015, abs=1e-6)
    assert feature(task, both, "bid").item() == pytest.approx(0.9)
    assert feature(task, both, "clicks_2").item() == pytest.approx(0.0707107, abs=1e-6)
    assert feature(task, both, "attention").item() == pytest.approx(1.2071068, abs=1e-6)


@pytest.mark.parametrize(
    ("pricing", "paid"), [("first_price", 0.0353553), ("second_price_cpm", 0.0282843)]
)
def test_options_pay_by_what_is_paid_for(pricing: str, paid: float) -> None:
    # Why: 0.0707107 clicks of 0.5; and an impression's price holds the chance of a click already.
    task = task_named("allocate", market_of(pricing=pricing))
    options = task.options(*asked(task.market))
    assert options.payment[0, 1].item() == pytest.approx(paid, abs=1e-6)


def test_orders_are_a_tenth_of_clicks() -> None:
    # Why: without the factor an ad paid for by orders would look ten times too dear.
    task = task_named("allocate", market_of(pricing="cpa"))
    options = task.options(*asked(task.market))
    assert options.payment[0, 1].item() == pytest.approx(0.00282843, abs=1e-7)


@pytest.mark.parametrize("name", list(TASKS))
def test_an_option_is_described_by_what_the_market_then_does(name: str) -> None:
    # Why: an option that promises other ads than are shown teaches an agent nonsense.
    core = open_ad_core(TasteShop(num_items=40, dtype=D), task=name, num_envs=3, num_slots=6)
    seen = core.reset(5)
    task, market = core.platform.task, core.platform.market
    assert seen.options is not None
    assert seen.options.feature.shape == (3, task.num_options, len(feature_names(6)))
    assert seen.options.feature.isfinite().all() and seen.feature.isfinite().all()
    assert len(feature_names(6)) == task.num_features == len(TOTALS) + 18
    for option in range(0, task.num_options, 3):
        plan = task.plan(seen.request, seen.market, torch.full((3,), option))
        placed = market.place(seen.request, plan, seen.base.visit.time_ms)
        shown_NK = placed.campaign >= 0
        assert torch.equal(seen.options.num_ads[:, option], shown_NK.sum(-1))
        told_NK = torch.stack(
            [feature(task, seen.options.feature[:, option], f"ad_{k + 1}") for k in range(6)], -1
        )
        assert torch.equal(told_NK, shown_NK.to(D))


@pytest.mark.parametrize("pricing", auction.PRICINGS)
@pytest.mark.parametrize("name", ["allocate", "insert", "joint"])
@pytest.mark.parametrize("candidates", [1, 3])
def test_options_are_what_running_each_auction_gives(
    candidates: int, name: str, pricing: str
) -> None:
    # Why: they are read off one auction a page, many times faster than running one an option.
    market = market_of(
        pricing=pricing, reserve=0.35, alpha=0.7, error=0.5, num_candidates=candidates
    )
    task = task_named(name, market)
    request, ledger = asked(market, lanes=4)
    found, run = task.options(request, ledger), task.options_run(request, ledger)
    assert found.num_ads.sum() > 0 and found.feature.shape == run.feature.shape
    torch.testing.assert_close(found.feature, run.feature)
    torch.testing.assert_close(found.payment, run.payment)
    assert torch.equal(found.place, run.place) and torch.equal(found.allowed, run.allowed)


@pytest.mark.parametrize("name", list(TASKS))
def test_the_first_option_of_every_task_is_no_ad(name: str) -> None:
    # Why: policies, roll-outs and the incremental metrics all count on it.
    core = open_ad_core(TasteShop(num_items=40), task=name, num_envs=50, num_slots=6)
    core.reset(0)
    for _ in range(3):
        options = core.observation.options
        assert options is not None and options.allowed[:, 0].all()
        played = core.step(torch.zeros(50, dtype=torch.int64))
        assert not played.outcome.page.sponsored.any()
        assert played.ads.ad_revenue().sum() == 0


def test_an_insertion_names_its_candidate_and_its_slot() -> None:
    # Why: by hand; option 1 + 2 · 4 + 1 = 10 is candidate 2 in the second slot, index 1.
    task = task_named("insert", market_of())
    request, ledger = asked(task.market)
    assert task.num_options == 13
    plan = task.plan(request, ledger, one(10))
    assert plan.candidate.tolist() == [[-1, 2, -1, -1]]
    placed = task.market.place(request, plan, ledger.day * 0)
    assert placed.page.item.tolist() == [[0, 12, 1, 2]]
    assert placed.campaign.tolist() == [[-1, 2, -1, -1]]


def test_insertions_that_may_not_be_are_masked_and_show_no_ad() -> None:
    # Why: the first slot is no place for ads, and a candidate that is not there cannot stand.
    market = market_of(reserve=0.35)  # the third bid of 0.3 takes no part
    task = task_named("insert", market)
    request, ledger = asked(market)
    allowed_QK = task.options(request, ledger).allowed[0, 1:].view(3, K)
    assert allowed_QK.int().tolist() == [[0, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0]]
    for option in (1, 10):  # candidate 0 at the top; candidate 2
        assert not task.plan(request, ledger, one(option)).place.any()


def test_fewer_candidates_than_slots_mask_the_larger_sets() -> None:
    # Why: two options that show the same page would share what is learned of one.
    market = market_of(reserve=0.45)  # one bidder is left
    task = task_named("allocate", market)
    assert task.options(*asked(market)).allowed.tolist() == [[True, True, True, True, False]]


def test_a_wish_counts_as_the_nearest_legal_one_from_the_top() -> None:
    # Why: Gymnasium's MultiBinary can wish for all slots.
    task = task_named("allocate", market_of())
    request, ledger = asked(task.market)
    plan = task.decoded(request, ledger, one([1, 1, 1, 1]))
    assert plan.place.int().tolist() == [[0, 1, 0, 1]]


def test_a_joint_action_is_a_slate_and_a_wish() -> None:
    # Why: ads push the agent's own items down, and an item stands on the page once.
    task = task_named("joint", market_of())
    request, ledger = asked(task.market)
    plan = task.decoded(request, ledger, one([7, 10, 9, 8, 0, 1, 0, 0]))
    placed = task.market.place(request, plan, ledger.day * 0)
    # item 10 is on the slate, so its campaign takes no part and the next one stands
    assert placed.page.item.tolist() == [[7, 11, 10, 9]]
    option = task.plan(request, ledger, one(1))
    assert torch.equal(option.organic, request.organic)


def test_the_load_of_a_session_stays_at_its_target() -> None:
    # Why: by hand; a quarter of 4-slot pages is one ad on each, an eighth one on every second.
    task = task_named("price", market_of())
    request, ledger = asked(task.market)
    for target, shown in ((0.25, [1, 1, 1, 1]), (0.125, [0, 1, 0, 1]), (1.0, [2, 2, 2, 2])):
        seen, found = ledger, []
        for _ in range(4):
            plan = task.decoded(request, seen, one([0.0, 0.5, target], D))
            found.append(int(plan.place.sum()))
            seen = dataclasses.replace(
                seen, ads=seen.ads + found[-1], impressions=seen.impressions + K
            )
        assert found == shown


def test_price_actions_set_reserve_and_exponent() -> None:
    # Why: by hand; alpha 0 ranks by bid, and a reserve above a bid keeps it out.
    task = task_named("price", market_of())
    request, ledger = asked(task.market)
    plan = task.decoded(request, ledger, one([0.45, 0.25, 1.0], D))
    assert plan.reserve.item() == pytest.approx(0.45) and plan.alpha.item() == 0.5
    placed = task.market.place(request, plan, ledger.day * 0)
    assert placed.campaign.tolist() == [[-1, 0, -1, -1]]  # one of two slots stays without an ad
    assert placed.price[0, 1].item() == 450_000  # micros: nobody follows, so the reserve


def test_masked_and_full_pages_of_a_core_agree_with_the_task() -> None:
    # Why: a campaign shown as often as the cap allows is no candidate any more.
    rows = [{"item": 30, "bid": 0.5, "budget": 5.0}]
    core: AdCore = open_ad_core(
        TasteShop(num_items=40), num_envs=64, num_slots=K, campaigns=rows,
        rules={"frequency_cap": 1, "min_distance": 2}, market={"num_candidates": 1},
    )  # fmt: skip
    core.reset(0)
    played = core.play(torch.ones(64, dtype=torch.int64))
    shown_N = (played.ads.campaign >= 0).any(-1)
    options = core.observation.options
    assert shown_N.any() and options is not None
    assert torch.equal(options.allowed[:, 1], ~shown_N)


def test_an_unknown_task_names_those_there_are() -> None:
    # Why: a typo in a config.
    with pytest.raises(
        UserError, match="task='place' is unknown: expected one of allocate, insert"
    ):
        task_named("place", market_of())
