"""The hindsight oracle: what recorded requests could have paid under an ad load, at most.

A knapsack over a budget of ads: of each recorded page one option is taken, and all ads together are
no more than a share of all impressions. With fractions of pages allowed it is a linear programme
(the multiple-choice knapsack's relaxation: Sinha and Zoltners 1979, "The multiple-choice knapsack
problem", proposition 4), solved by the one price of an ad at which the ads come to the budget; its
value bounds that of every policy that met these requests. It knows the whole set at once and what
each option is expected to pay, and no shopper who tires: for evaluation only.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from agents.ads.base import best, options_of
from recgym.ads.records import AdObservation

HALVINGS = 60  # of the range of prices: beyond the digits of float64


@dataclass(frozen=True)
class Bound:
    """The best that recorded pages could have paid."""

    price: float  # currency units of an ad at the margin; 0 where the budget does not bind
    payment: float  # currency units of all pages, at most
    num_ads: float  # of all pages


class Hindsight:
    """The policy of a bound: the option that pays most above the price of its ads.

    Args:
        price: currency units an ad, of `bound`.
    """

    def __init__(self, price: float) -> None:
        self.price = price

    def act(self, observation: AdObservation, *, explore: bool = False) -> Tensor:
        """The option, [N]."""
        options = options_of(observation)
        return best(options.payment - self.price * options.num_ads, options.allowed)


def bound(payment_RJ: Tensor, num_ads_RJ: Tensor, allowed_RJ: Tensor, budget: float) -> Bound:
    """The linear programme's value over R recorded pages, with at most ``budget`` ads.

    By duality it is the least, over prices, of what all pages pay above the price of their ads plus
    the price of the budget.
    """
    payment_RJ = payment_RJ.double().masked_fill(~allowed_RJ, -torch.inf)
    ads_RJ = num_ads_RJ.double()

    def taken(price: float) -> tuple[float, float]:
        score_RJ = payment_RJ - price * ads_RJ
        index_R1 = score_RJ.argmax(-1, keepdim=True)
        return float(score_RJ.gather(-1, index_R1).sum()), float(ads_RJ.gather(-1, index_R1).sum())

    profit, num_ads = taken(0.0)
    if num_ads <= budget:
        return Bound(0.0, profit, num_ads)
    low, high = 0.0, float(payment_RJ.max())
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if taken(middle)[1] > budget else (low, middle)
    return Bound(high, taken(high)[0] + high * budget, budget)
