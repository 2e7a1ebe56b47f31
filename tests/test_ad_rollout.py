"""recgym.ads.rollout and recgym.ads.stats: each episode once, and every micro accounted for."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from probe_shop import ProbeShop
from torch import Tensor

from recgym.ads import metrics
from recgym.ads.platform import AdLanes, Platform
from recgym.ads.ranking import FixedRanking
from recgym.ads.records import PARTS, AdObservation, AdOutcome, Plan
from recgym.ads.rollout import NoAds, rollout
from recgym.ads.stats import SLOT_SUMS, AdStats, CampaignSums
from recgym.envs.ads import open_ad_core
from recgym.worlds.taste import TasteShop

D = torch.float64
SEED = torch.arange(200) % 80
SESSION = torch.div(torch.arange(200), 80, rounding_mode="floor") * 3
EASY: dict[str, Any] = {"click_rate": 0.1, "market": {"error": 0.0}}


class MostAds:
    """The option with most ads, the best paid of them."""

    def act(self, observation: AdObservation, *, explore: bool = False) -> Tensor:
        assert observation.options is not None
        most_NJ = observation.options.num_ads * 1000.0 + observation.options.payment
        return most_NJ.masked_fill(~observation.options.allowed, -1.0).argmax(-1)


class EverySlot:
    """A plan of its own: an ad wished for in every slot."""

    def __init__(self, platform: Platform) -> None:
        self.market = platform.market

    def act(self, observation: AdObservation, *, explore: bool = False) -> Plan:
        place_NK = torch.ones_like(observation.request.organic, dtype=torch.bool)
        return self.market.plan(observation.request, place_NK)


def returning(**settings: Any) -> Platform:
    shop = TasteShop(num_items=40, returns=True, return_base=1.0, dtype=D)
    return open_ad_core(shop, num_slots=5, num_sessions=3, **{**EASY, **settings}).platform


def buying() -> Platform:
    """A shop where pages sell: of every slot that is clicked, a third or so is bought at once."""
    cheapest = FixedRanking(-torch.arange(4), num_slots=3)
    return open_ad_core(
        ProbeShop(appeal=1.0, dtype=D), num_slots=3, organic=cheapest,
        campaigns=[{"item": 3, "bid": 0.5, "budget": 9.0}], **EASY,
    ).platform  # fmt: skip


def assert_equal(first: Any, second: Any) -> None:
    for field in dataclasses.fields(first):
        a, b = getattr(first, field.name), getattr(second, field.name)
        if isinstance(a, CampaignSums):
            assert_equal(a, b)
        elif a.is_floating_point():
            torch.testing.assert_close(a, b, rtol=0, atol=1e-9)
        else:
            assert torch.equal(a, b), field.name


def test_statistics_do_not_depend_on_the_number_of_lanes() -> None:
    # Why: lanes are refilled as episodes end, and none may be lost, mixed up or played twice.
    platform = returning()
    one = rollout(platform, MostAds(), SEED, SESSION, lanes=23)
    other = rollout(platform, MostAds(), SEED, SESSION, lanes=200)
    assert_equal(one, other)
    assert torch.equal(one.shopper, SEED)
    assert one.ad_micros.sum() > 0 and one.sponsored_sales.sum() > 0


def test_money_in_is_money_out() -> None:
    # Why: what shoppers' rows say that campaigns paid is what the campaigns' own say, to the micro.
    for pricing in ("gsp", "first_price", "vcg", "second_price_cpm", "cpa"):
        platform = returning(market={"pricing": pricing, "error": 0.0})
        stats = rollout(platform, MostAds(), SEED, SESSION)
        sums = stats.campaigns
        assert stats.ad_micros.sum() == sums.spend.sum() > 0
        assert sums.impressions.sum() == stats.ads.sum()
        assert sums.clicks.sum() == stats.ad_clicks.sum() > 0
        torch.testing.assert_close(sums.sales.sum(), stats.sponsored_sales.sum())
        assert (sums.spend <= sums.budget).all()
        # the reward's first part is the same money
        torch.testing.assert_close(stats.parts[:, 0], stats.ad_revenue())


def test_statistics_are_the_sums_of_the_steps() -> None:
    # Why: summed a second time here, row by row, from the outcomes.
    platform = returning()
    pages = torch.zeros(200)
    ads, clicks, micros = (torch.zeros(200, dtype=torch.int64) for _ in range(3))
    reward = torch.zeros(200, len(PARTS), dtype=D)
    sessions = torch.zeros(200)

    def add(index_N: Tensor, state: AdLanes, seen: AdObservation, brought: AdOutcome) -> None:
        for lane, row in enumerate(index_N.tolist()):
            pages[row] += 1
            ads[row] += int((brought.campaign[lane] >= 0).sum())
            clicks[row] += int(brought.clicked_campaign[lane] >= 0)
            micros[row] += int(brought.charge[lane].sum())
            reward[row] += brought.parts[lane]
            sessions[row] += int(brought.outcome.left[lane])

    stats = rollout(platform, MostAds(), SEED, SESSION, lanes=50, on_step=add)
    assert torch.equal(stats.pages.float(), pages)
    assert torch.equal(stats.ads.long(), ads) and torch.equal(stats.ad_clicks.long(), clicks)
    assert torch.equal(stats.ad_micros, micros)
    torch.testing.assert_close(stats.parts, reward)
    assert torch.equal(stats.sessions.float(), sessions)


def test_budgets_are_counted_once_a_shopper_and_day() -> None:
    # Why: the use of budgets is held against what advertisers offered, not against pages.
    days: set[tuple[int, int]] = set()

    def note(index_N: Tensor, state: AdLanes, seen: AdObservation, brought: AdOutcome) -> None:
        days.update(zip(index_N.tolist(), state.market.day.tolist(), strict=True))

    rows = [{"item": 30, "bid": 0.1, "budget": 5.0}, {"item": 31, "bid": 0.1, "budget": 2.0}]
    stats = rollout(returning(campaigns=rows), NoAds(), SEED, SESSION, on_step=note)
    assert len(days) > 200  # shoppers who came back on another day
    assert stats.campaigns.budget.tolist() == [5_000_000 * len(days), 2_000_000 * len(days)]
    assert stats.campaigns.running.tolist() == [int(stats.pages.sum())] * 2


def test_slots_and_campaigns_add_up_to_the_pages() -> None:
    # Why: click-through by slot and by campaign must be of the same clicks.
    stats = rollout(buying(), MostAds(), SEED, SESSION)
    found = dict(zip(SLOT_SUMS, stats.slots.sum(-1).unbind(1), strict=True))
    assert torch.equal(found["shown"], stats.impressions)
    assert torch.equal(found["clicked"], stats.clicks)
    assert torch.equal(found["ads"], stats.ads)
    assert torch.equal(found["ad_clicked"], stats.ad_clicks)
    assert (found["bought"] <= stats.orders).all() and found["bought"].sum() > 50
    assert (found["ad_bought"] <= found["bought"]).all() and found["ad_bought"].sum() > 10
    assert (stats.ads <= stats.wanted).all()
    assert stats.slots[:, SLOT_SUMS.index("ads"), 0].sum() == 0  # none at the top


def test_returns_are_counted_where_a_session_may_follow() -> None:
    # Why: after the third of three sessions nobody can come back, which says nothing of ads.
    stats = rollout(returning(), MostAds(), SEED, SESSION)
    came_back = stats.sessions - 1
    assert torch.equal(stats.left, stats.sessions)  # no page limit in the way
    # a chance after each session but the third
    assert torch.equal(stats.chances, stats.sessions.clamp(max=2))
    assert (stats.back_1 <= stats.back_7).all() and (stats.back_7 <= came_back).all()
    assert 0 < stats.back_1.sum() < stats.back_7.sum()
    late = rollout(returning(), MostAds(), SEED, SESSION, max_pages=2)
    assert late.left.sum() < late.sessions.sum() and late.pages.max() <= 6


def test_ads_of_a_session_are_those_of_its_pages() -> None:
    # Why: the 95th percentile is of sessions, not of episodes with several of them.
    stats = rollout(returning(), MostAds(), SEED, SESSION)
    held_L = stats.campaigns.session_ads
    assert held_L.sum() == stats.sessions.sum()
    number_L = torch.arange(len(held_L))
    assert (held_L * number_L).sum() == stats.ads.sum()


def test_without_ads_nothing_is_paid_and_the_shop_is_as_it_was() -> None:
    # Why: a shop without ads is what every figure of increments is held against.
    stats = rollout(returning(), NoAds(), SEED, SESSION)
    assert stats.ads.sum() == 0 and stats.ad_micros.sum() == 0 and stats.wanted.sum() == 0
    strong = rollout(returning(ads="strong"), NoAds(), SEED, SESSION)
    assert_equal(stats, strong)


def test_a_policy_may_hand_in_plans() -> None:
    # Why: an oracle's pages need not be options; illegal wishes shrink to the legal ones.
    platform = returning(rules={"min_distance": 2, "max_ads": 2})
    stats = rollout(platform, EverySlot(platform), SEED[:40], SESSION[:40])
    assert (stats.ads <= 2 * stats.pages).all() and stats.ads.sum() > stats.pages.sum()


def test_progress_counts_each_episode_once() -> None:
    # Why: a bar that never fills, or fills twice, is worse than none.
    heard: list[int] = []
    rollout(returning(), NoAds(), SEED, SESSION, lanes=32, progress=heard.append)
    assert sum(heard) == 200


def test_a_policy_against_itself_differs_by_exactly_nothing() -> None:
    # Why: common random numbers; any other number here would be noise passed off as a gain.
    platform = returning()
    runs: list[AdStats] = [rollout(platform, MostAds(), SEED, SESSION, lanes=n) for n in (64, 64)]
    found = metrics.difference(*runs, "ad_revenue_per_session")
    assert (found.mean, found.low, found.high) == (0.0, 0.0, 0.0)
