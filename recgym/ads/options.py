"""What the options of a page are described by: the ads that would stand, and what they would pay.

Dims: J options · X features of an option, in the order of `feature_names`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recgym.ads.market import AdMarket
from recgym.ads.records import Options

TOTALS = ("ads", "payment", "clicks", "attention", "bid", "alpha", "reserve")


def feature_names(num_slots: int) -> list[str]:
    """What each feature of an option is: totals of the page, then three for each slot."""
    each = [f"{what}_{k + 1}" for what in ("ad", "clicks", "payment") for k in range(num_slots)]
    return [*TOTALS, *each]


def num_option_features(num_slots: int) -> int:
    """X."""
    return len(TOTALS) + 3 * num_slots


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
