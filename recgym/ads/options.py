"""What the options of a page are described by: the ads that would stand, and what they would pay.

Dims: J options · X features of an option, in the order of `feature_names`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recgym.ads import auction
from recgym.ads.market import AdMarket
from recgym.ads.records import Options, Request

TOTALS = ("ads", "payment", "clicks", "attention", "bid", "alpha", "reserve")
ORDERS_A_CLICK = 0.1  # where orders are paid for: the site has no estimate of its own for each ad


def feature_names(num_slots: int) -> list[str]:
    """What each feature of an option is: totals of the page, then three for each slot."""
    each = [f"{what}_{k + 1}" for what in ("ad", "clicks", "payment") for k in range(num_slots)]
    return [*TOTALS, *each]


def num_option_features(num_slots: int) -> int:
    """X."""
    return len(TOTALS) + 3 * num_slots


def offers(market: AdMarket, request: Request) -> Tensor:
    """Of each candidate whether there is one, chance of a click, expected payment, bid, [N, Q, 4].

    At the top of a page, at the market's own settings. Further down chance and payment are the
    slot's share of clicks times this, whatever is paid for, but for `vcg`.
    """
    there_NQ = request.campaign >= 0
    weight_NQ = auction.weight(request.pctr, request.quality, market.alpha)
    score_NQ = (request.bid * weight_NQ).masked_fill(~there_NQ, -torch.inf)
    won = auction.Won(
        ad=there_NQ,
        bid=request.bid,
        weight=weight_NQ,
        following=auction.following(score_NQ),
        chance=request.pctr,
        effect=torch.ones_like(request.pctr),
    )
    reserve_N = torch.full_like(request.bid[:, 0], market.reserve)
    price_NQ = auction.prices(market.pricing, won, reserve_N)
    pay_NQ = price_NQ * events(market, request.pctr)
    return torch.stack([there_NQ.to(pay_NQ.dtype), request.pctr, pay_NQ, request.bid], -1)


def events(market: AdMarket, chance: Tensor) -> Tensor:
    """Expected number of what is paid for, of an ad with this chance of a click."""
    if market.event == "impression":
        return torch.ones_like(chance)
    return chance * ORDERS_A_CLICK if market.event == "order" else chance


def described(
    market: AdMarket,
    *,
    ad_NJK: Tensor,
    click_NJK: Tensor,
    pay_NJK: Tensor,
    bid_NJK: Tensor,
    alpha_NJ: Tensor,
    reserve_NJ: Tensor,
    allowed_NJ: Tensor,
) -> Options:
    """Options by the ads that would stand in each slot, their clicks, payments and bids."""
    shown_NJK, num_ads_NJ = ad_NJK.to(click_NJK.dtype), ad_NJK.sum(-1)
    total_NJT = torch.stack(
        [
            shown_NJK.sum(-1),
            pay_NJK.sum(-1),
            click_NJK.sum(-1),
            (shown_NJK * market.position_K).sum(-1),
            bid_NJK.sum(-1),
            alpha_NJ,
            reserve_NJ,
        ],
        -1,
    )
    return Options(
        feature=torch.cat([total_NJT, shown_NJK, click_NJK, pay_NJK], -1),
        allowed=allowed_NJ,
        num_ads=num_ads_NJ,
        payment=pay_NJK.sum(-1),
        place=ad_NJK,
    )
