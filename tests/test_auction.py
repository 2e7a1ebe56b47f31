"""recgym.ads.auction: ranks and prices by hand, against brute force, and within their bounds."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torch import Tensor

from recgym.ads import auction
from recgym.ads.auction import PRICINGS, Won
from recgym.ads.campaigns import draw_campaigns
from recgym.errors import UserError
from recgym.worlds.taste import TasteShop

EFFECT = (1.0, 0.7, 0.5, 0.3)  # of four slots


def sold(
    pricing: str, bid: Tensor, pctr: Tensor, *, slots: int, alpha: float = 1.0, reserve: float = 0.0
) -> tuple[Tensor, Tensor, Won]:
    """Winners, prices and what was won of the first slots of a page, one lane, all in float64."""
    bid, pctr = bid.double().unsqueeze(0), pctr.double().unsqueeze(0)
    weight = auction.weight(pctr, torch.ones_like(pctr), alpha)
    score = (bid * weight).masked_fill(bid < reserve, -torch.inf)
    place = torch.ones(1, slots, dtype=torch.bool)
    column = auction.winners(score, place, torch.full((1, slots), -1))
    at = column.clamp(min=0)
    effect = torch.tensor(EFFECT[:slots], dtype=torch.float64).unsqueeze(0)
    won = Won(
        ad=column >= 0,
        bid=bid.gather(-1, at),
        weight=weight.gather(-1, at),
        following=auction.following(score).gather(-1, at),
        chance=pctr.gather(-1, at) * effect,
        effect=effect,
    )
    price = auction.prices(pricing, won, torch.tensor([reserve], dtype=torch.float64))
    return column[0], price[0], won


# Scores 0.05, 0.04, 0.03: ad 2 is first, then ad 0, then ad 1.
BID = torch.tensor([0.4, 1.5, 1.0], dtype=torch.float64)
PCTR = torch.tensor([0.10, 0.02, 0.05], dtype=torch.float64)


@pytest.mark.parametrize(
    ("pricing", "expected"),
    [
        ("gsp", [0.8, 0.3]),  # 0.04 / 0.05, 0.03 / 0.10
        ("first_price", [1.0, 0.4]),
        # (0.3 · 0.04 + 0.7 · 0.03) / 0.05, and 0.03 / 0.10 as for the last slot anyway
        ("vcg", [0.66, 0.3]),
        ("second_price_cpm", [0.04, 0.021]),  # 0.8 · 0.05, 0.3 · 0.10 · 0.7
        ("cpa", [0.8, 0.3]),
    ],
)
def test_prices_by_hand(pricing: str, expected: list[float]) -> None:
    # Why: a next score that is not divided by the own weight, or a slot's share taken twice, still
    # gives prices that look like prices.
    column, price, _ = sold(pricing, BID, PCTR, slots=2)
    assert column.tolist() == [2, 0]
    assert price.tolist() == pytest.approx(expected, abs=1e-12)


def test_the_last_ad_pays_the_reserve_where_nobody_follows() -> None:
    # Why: without it the last slot would be free.
    column, price, _ = sold("gsp", BID, PCTR, slots=4, reserve=0.35)
    assert column.tolist() == [2, 0, 1, -1]
    assert price.tolist() == pytest.approx([0.8, 0.35, 0.35, 0.0])


def brute_force(bid: Tensor, weight: Tensor, slots: int) -> tuple[list[int], list[float]]:
    """The assignment of most welfare and each winner's externality per click, by trying all."""

    def best(without: int | None) -> tuple[float, tuple[int, ...]]:
        ads = [a for a in range(len(bid)) if a != without]
        tried = permutations(ads, min(slots, len(ads)))
        return max((welfare(order), order) for order in tried)

    def welfare(order: tuple[int, ...], without: int | None = None) -> float:
        return sum(
            EFFECT[k] * float(weight[a] * bid[a]) for k, a in enumerate(order) if a != without
        )

    _, order = best(None)
    loss = [best(a)[0] - welfare(order, a) for a in order]
    return list(order), [
        x / (EFFECT[k] * float(weight[a])) for k, (a, x) in enumerate(zip(order, loss, strict=True))
    ]


@pytest.mark.parametrize("slots", [1, 2, 3, 4])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_vcg_charges_what_the_others_lose(slots: int, alpha: float) -> None:
    # Why: the ladder of differences is a rewriting of the externality that is easy to get off by
    # one; trying all assignments is not.
    generator = torch.Generator().manual_seed(slots)
    for count in (1, 2, 3, 5):
        bid = torch.rand(count, generator=generator, dtype=torch.float64)
        pctr = 0.01 + 0.1 * torch.rand(count, generator=generator, dtype=torch.float64)
        order, externality = brute_force(bid, pctr**alpha, slots)
        column, price, _ = sold("vcg", bid, pctr, slots=slots, alpha=alpha)
        assert column.tolist()[: len(order)] == order
        assert price.tolist()[: len(order)] == pytest.approx(externality, abs=1e-9)
        assert (column[len(order) :] == -1).all()


def drawn(count: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, generator=generator), 0.2 * torch.rand(count, generator=generator)


@pytest.mark.parametrize("pricing", PRICINGS)
def test_no_price_is_below_the_reserve_or_above_the_bid(pricing: str) -> None:
    # Why: an advertiser that pays above its bid, by a rounding even, was cheated.
    for seed in range(60):
        bid, pctr = drawn(6, seed)
        _, price, won = sold(pricing, bid, pctr, slots=4, alpha=0.7, reserve=0.3)
        each = won.chance if pricing == "second_price_cpm" else torch.ones_like(won.chance)
        paid, bound, least = price[won.ad[0]], (won.bid * each)[won.ad], (0.3 * each)[won.ad]
        assert (paid <= bound).all() and (paid >= least).all()
        assert (auction.micros(paid) <= auction.micros(bound)).all()
        assert (price[~won.ad[0]] == 0).all()


def test_first_price_charges_the_bid_and_gsp_the_next_score() -> None:
    # Why: these are their definitions.
    for seed in range(60):
        bid, pctr = drawn(6, seed)
        column, price, _ = sold("first_price", bid, pctr, slots=4)
        assert torch.equal(price, bid.double()[column])
        column, price, _ = sold("gsp", bid, pctr, slots=4)
        score = (bid.double() * pctr.double()).sort(descending=True).values
        assert torch.allclose(price * pctr.double()[column], score[1:5])


def test_vcg_never_asks_more_than_gsp_at_the_same_bids() -> None:
    # Why: Edelman, Ostrovsky and Schwarz 2007 prove it.
    cheaper = 0
    for seed in range(60):
        bid, pctr = drawn(6, seed)
        gsp, vcg = (sold(p, bid, pctr, slots=4, reserve=0.1)[1] for p in ("gsp", "vcg"))
        assert (vcg <= gsp + 1e-12).all()
        cheaper += int((vcg < gsp - 1e-6).any())
    assert cheaper > 30


def test_alpha_of_0_ranks_by_bid_alone() -> None:
    # Why: it is the other end of the family, and the first auction that was ever run on clicks.
    for seed in range(20):
        bid, pctr = drawn(6, seed)
        column, _, _ = sold("gsp", bid, pctr, slots=4, alpha=0.0)
        assert torch.equal(column, bid.argsort(descending=True)[:4])
        by_score, _, _ = sold("gsp", bid, pctr, slots=4, alpha=1.0)
        assert torch.equal(by_score, (bid * pctr).argsort(descending=True)[:4])


def test_equal_scores_rank_by_column() -> None:
    # Why: a sort that is not stable would let the number of lanes decide.
    column, price, _ = sold("gsp", torch.full((3,), 0.5), torch.full((3,), 0.1), slots=2)
    assert column.tolist() == [0, 1]
    assert price.tolist() == pytest.approx([0.5, 0.5])


def test_raising_the_reserve_raises_then_lowers_revenue() -> None:
    # Why: what a reserve is for, most of all where few compete. Below its best value it lifts the
    # prices of those who stand last, above it ads go missing.
    catalog = TasteShop(num_items=200).catalog
    bid_A = draw_campaigns(catalog, seed=3, num_campaigns=200, part_time=0.0).bid
    requests = bid_A[torch.randint(200, (300, 2), generator=torch.Generator().manual_seed(0))]
    pctr, share, revenue = torch.full((2,), 0.1), torch.tensor(EFFECT[:2]), []
    for reserve in (0.0, 0.05, 0.1, 0.15, 0.3, 0.6, 1.0):
        paid = [sold("gsp", bid, pctr, slots=2, reserve=reserve)[1] * share for bid in requests]
        revenue.append(float(torch.stack(paid).sum()) / 300)
    best = revenue.index(max(revenue))
    assert 0 < best < 6
    assert revenue[: best + 1] == sorted(revenue[: best + 1])
    assert revenue[best:] == sorted(revenue[best:], reverse=True)
    assert revenue[best] > 1.2 * revenue[0] and revenue[-1] < 0.2 * revenue[best]


def winners_of(score: list[float], place: list[bool], wish: list[int]) -> list[int]:
    found = auction.winners(torch.tensor([score]), torch.tensor([place]), torch.tensor([wish]))
    return [int(column) for column in found[0]]


def test_forced_candidates_come_first_and_the_auction_fills_the_rest() -> None:
    # Why: an insertion must not be overruled by a better score, nor stand on the page twice.
    score, nothing = [3.0, 2.0, 1.0], -torch.inf
    assert winners_of(score, [True, True, True], [-1, 0, -1]) == [1, 0, 2]
    assert winners_of(score, [True, True, True], [1, 1, -1]) == [1, -1, 0]
    assert winners_of(score, [False, True, False], [2, 2, -1]) == [-1, 2, -1]
    assert winners_of([nothing, 2.0, nothing], [True, True, True], [0, -1, -1]) == [-1, 1, -1]
    assert winners_of([nothing] * 3, [True, True, True], [-1, -1, -1]) == [-1, -1, -1]


def test_a_page_may_have_more_ad_slots_than_there_are_candidates() -> None:
    # Why: the slots beyond stay organic.
    assert winners_of([1.0], [True, True, True], [-1, -1, -1]) == [0, -1, -1]


def test_an_unknown_pricing_says_which_there_are() -> None:
    # Why: it ends in one sentence.
    with pytest.raises(UserError, match="pricing='gps' is unknown: expected one of gsp, first_"):
        auction.pricing_named("gps")


def test_micros_round_to_the_nearest() -> None:
    # Why: a float's 0.29 is a little less, and must not lose a micro.
    assert auction.micros(torch.tensor([0.29, 1e-7, 1.5])).tolist() == [290_000, 0, 1_500_000]
