"""What a page with ads is worth to the platform: a vector of parts, and their weighted sum.

The parts are those of `recgym.ads.records.PARTS`: money that advertisers pay; the platform's take
of organic and of sponsored sales; minus what the ads added to the shopper's tiredness of ads; and
the ads shown beyond the load cap. Their weights make the scalar that a learner is paid. The weight
of the last is taken off: it is the price of the constraint "ad load at or under the cap", a
Lagrange multiplier (Altman 1999, "Constrained Markov decision processes", section 3), which an
agent may move. The part is negative on pages below the cap: the constraint holds on average.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

import torch
from torch import Tensor

from recgym.ads.records import PARTS, AdOutcome
from recgym.errors import UserError
from recgym.reward import REWARDS
from recgym.settings import Share, Within, check

Weight = Annotated[float, Within(0.0)]
EXCESS = PARTS.index("excess_load")
SALES = {name: REWARDS[name] for name in ("revenue", "chosen_revenue", "expected_revenue")}


@dataclass(frozen=True)
class RewardWeights:
    """Weight of each part, and the platform's share of sales.

    Args:
        ad_revenue: of what advertisers pay.
        organic_sales: of the take of what is sold without an ad.
        sponsored_sales: of the take of what is credited to an ad.
        satisfaction: currency units that a unit of tiredness costs.
        excess_load: currency units that an ad beyond the cap costs.
        take_rate: the platform's share of what is sold.
    """

    ad_revenue: Weight = 1.0
    organic_sales: Weight = 1.0
    sponsored_sales: Weight = 1.0
    satisfaction: Weight = 0.0
    excess_load: Weight = 0.0
    take_rate: Share = 0.1

    def __post_init__(self) -> None:
        check("weights", asdict(self), RewardWeights)


class AdReward:
    """Parts and scalar of a page's outcome.

    Args:
        weights: of the parts.
        load_cap: ads an impression that the constraint allows.
        sales: how a page's sales count, a name in `SALES`: those expected have far less noise and
            the same best policy. What is credited to ads stays what was paid.
    """

    def __init__(
        self,
        weights: RewardWeights | None = None,
        *,
        load_cap: Share = 0.1,
        sales: str = "revenue",
    ) -> None:
        check("reward", {"load_cap": load_cap}, AdReward)
        if sales not in SALES:
            raise UserError(f"sales={sales!r} is unknown: expected one of {', '.join(SALES)}.")
        self.weights, self.load_cap = weights or RewardWeights(), load_cap
        self.sold = SALES[sales]

    def parts(self, ads: AdOutcome) -> Tensor:
        """In the order of `PARTS`, [N, W]."""
        outcome, take = ads.outcome, self.weights.take_rate
        shown_N = (ads.campaign >= 0).sum(-1)
        sold_N = ads.sponsored_sales
        part_WN = [
            ads.ad_revenue().to(outcome.revenue.dtype),
            take * (self.sold(outcome) - sold_N),
            take * sold_N,
            -ads.tired,
            shown_N - self.load_cap * outcome.impressions,
        ]
        return torch.stack(part_WN, -1)

    def scalar(self, part_NW: Tensor, price_of_load: Tensor) -> Tensor:
        """The weighted sum, [N]; an ad beyond the cap costs ``price_of_load`` [] instead."""
        weights = self.weights
        value_N = (
            weights.ad_revenue * part_NW[:, 0]
            + weights.organic_sales * part_NW[:, 1]
            + weights.sponsored_sales * part_NW[:, 2]
            + weights.satisfaction * part_NW[:, 3]
        )
        return value_N - price_of_load * part_NW[:, EXCESS]
