"""recgym.replay of pages with ads: what is shown is what was auctioned, chosen and paid."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ad_shop import EvenShop, core_of
from test_inspector import text_of

from agents.ads.rules import GreedyAds, NoAds
from recgym.ads.platform import Platform
from recgym.ads.rollout import rollout
from recgym.envs.ads import open_ad_core
from recgym.replay import wording
from recgym.replay.page import page
from recgym.replay.placing import Placing
from recgym.replay.playing import play
from recgym.replay.steps import Session
from recgym.replay.text import needed, pair_text, session_text
from recgym.users.ad_law import AdLaw

LAW = AdLaw(level=0.0, memory=0.5, leave=0.4, trust_rate=0.1)
LEAVE = -2.0  # logit, of whoever is not tired of ads
ROWS = [
    {"item": 3, "bid": 2.0, "budget": 1e6},
    {"item": 4, "bid": 1.0, "budget": 1e6},
    {"item": 5, "bid": 0.5, "budget": 1e6},
]


def auctioned(pricing: str = "gsp", ads: Any = LAW, task: str = "allocate") -> Platform:
    """Three campaigns of falling bids for items that are all alike, up to two ads a page."""
    core = open_ad_core(
        EvenShop(LEAVE), task=task, ads=ads, num_slots=3, campaigns=ROWS,
        rules={"min_distance": 1, "max_ads": 2, "frequency_cap": 10_000},
        market={"pricing": pricing, "error": 0.0}, max_pages=1000, click_rate=0.2,
    )  # fmt: skip
    return core.platform


def played(platform: Platform, policy: Any, seed: int) -> Session:
    return play(Placing(platform, policy), seed, names=("it", "true", 0))


PLATFORM = auctioned()
SEED = next(s for s in range(100) if played(PLATFORM, GreedyAds(), s).ad_revenue > 0)
SESSION = played(PLATFORM, GreedyAds(), SEED)


@pytest.mark.parametrize("pricing", ["gsp", "second_price_cpm", "cpa"])
def test_the_session_is_that_of_a_roll_out(pricing: str) -> None:
    # Why: what is shown of a shopper is what the table counted of them, to the micro.
    platform = auctioned(pricing)
    seed_B = torch.arange(40)
    stats = rollout(platform, GreedyAds(), seed_B, torch.zeros_like(seed_B))
    assert int(stats.ad_micros.sum()) > 0
    for seed in range(40):
        session = played(platform, GreedyAds(), seed)
        assert len(session.steps) == int(stats.pages[seed]) and session.over
        assert round(session.ad_revenue * 1e6) == int(stats.ad_micros[seed])
        assert session.revenue == pytest.approx(float(stats.revenue[seed]))
        shown = [item for step in session.steps for item in step.slots if item]
        assert sum(item.campaign is not None for item in shown) == int(stats.ads[seed])
        ads = session.steps[-1].ads
        assert ads and ads.load == pytest.approx(int(stats.ads[seed]) / len(shown))


def test_the_auction_of_a_page_by_hand() -> None:
    # Why: items are alike, so scores fall as bids do, and each pays the bid that follows.
    for step in SESSION.steps:
        assert step.ads is not None and step.ads.event == "click"
        first, second, third = step.ads.candidates
        assert [c.campaign for c in step.ads.candidates] == [0, 1, 2]
        assert [c.item for c in step.ads.candidates] == [3, 4, 5]
        assert (first.price, second.price, third.price) == (1.0, 0.5, 0.0)
        assert third.slot == -1 and first.slot < second.slot
        for each in step.ads.candidates:
            assert each.score == pytest.approx(each.bid * each.pctr)
            if each.slot >= 0:
                item = step.slots[each.slot]
                assert item and (item.item, item.campaign) == (each.item, each.campaign)
        clicked = [c for c in step.ads.candidates if c.slot == step.slot and c.slot >= 0]
        assert step.ads.charges == tuple((c.campaign, c.price) for c in clicked)
    paid = sum(step.ads.revenue for step in SESSION.steps if step.ads)
    assert SESSION.ad_revenue == pytest.approx(paid) and paid > 0


def test_options_are_what_the_policy_chose_among() -> None:
    # Why: the chosen one stands first, marked, beside no ads and the best of the others.
    for step in SESSION.steps:
        assert step.ads is not None
        chosen, none, *others = step.ads.options
        assert chosen.chosen and not none.chosen and none.ads == () and none.payment == 0.0
        on_page = [
            (k, item.campaign)
            for k, item in enumerate(step.slots)
            if item and item.campaign is not None
        ]
        assert list(chosen.ads) == on_page == [(1, 0), (2, 1)]
        assert chosen.score == chosen.payment >= max(option.payment for option in others)
        by_hand = [other.score for other in others]
        assert by_hand == sorted(by_hand, reverse=True) and 1 <= len(others) <= 3  # type: ignore[type-var]


def test_tiredness_and_trust_go_on_from_page_to_page() -> None:
    # Why: they are the reason of a later page's chance of leaving; by the law's own recursion.
    for step, following in zip(SESSION.steps, SESSION.steps[1:], strict=False):
        assert step.ads and following.ads
        assert following.ads.tired == pytest.approx(LAW.memory * step.ads.tired + step.ads.added)
        assert step.ads.added > 0.0
    for step in SESSION.steps[1:]:
        assert step.ads
        logit = torch.tensor(LEAVE + LAW.leave * step.ads.tired)
        assert step.chances.leave == pytest.approx(float(torch.sigmoid(logit)), abs=1e-5)


def test_a_policy_without_ads_shows_the_organic_ranking() -> None:
    # Why: the same page and shopper, and nothing of an auction that nobody won.
    session = played(PLATFORM, NoAds(), SEED)
    for step in session.steps:
        assert step.ads and not step.ads.charges and step.ads.load == 0.0
        assert all(candidate.slot == -1 for candidate in step.ads.candidates)
        assert [item and item.item for item in step.slots] == [0, 1, 2]
        option = step.ads.options[0]
        assert option.chosen and option.ads == () and option.score is None
        scores = [item.score for item in step.slots if item]
        assert scores == sorted(scores, reverse=True)  # type: ignore[type-var]
    assert wording.compared(session, played(PLATFORM, NoAds(), SEED)).startswith("Identical")
    assert "ad revenue by -" in wording.compared(SESSION, session)


def test_an_option_of_prices_says_its_reserve_and_exponent() -> None:
    # Why: there options differ in nothing else, and who wins is not known before the auction.
    step = played(auctioned(task="price"), GreedyAds(), SEED).steps[0]
    assert step.ads is not None
    assert {option.alpha for option in step.ads.options} == {0.5, 1.0}
    # an option may only raise what the market asks for at least
    assert all(option.reserve == 0.02 for option in step.ads.options)
    assert all(campaign is None for option in step.ads.options for _, campaign in option.ads)


def test_the_first_session_alone_is_shown_of_a_shopper_who_comes_back() -> None:
    # Why: an episode of several sessions is long; what is shown must end where the session does.
    core = core_of(AdLaw(), 1, num_sessions=3)
    session = played(core.platform, GreedyAds(), 5)
    seed_1 = torch.tensor([5])
    stats = rollout(core.platform, GreedyAds(), seed_1, torch.zeros_like(seed_1))
    assert session.over and int(stats.sessions) > 1 and len(session.steps) < int(stats.pages)


def test_terminal_and_page_show_every_number_of_the_auction() -> None:
    # Why: a column cut off by a narrow table is a number that nobody sees.
    shown, made = text_of(session_text(SESSION), 100), page([SESSION], [], None)
    side = text_of(pair_text(SESSION, SESSION, width=needed(True)), needed(True))
    assert "…" not in shown + side
    for step in SESSION.steps:
        assert step.ads is not None
        for head, rows in wording.decided(step.ads):
            for cell in (*head, *(cell for cells, _ in rows for cell in cells)):
                assert cell in shown and cell in side and cell in made
        assert wording.ad_money(step.ads) in " ".join(shown.split()) and "price/click" in shown
        assert wording.ad_money(step.ads) in made
