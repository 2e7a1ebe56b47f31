"""The ad-load target as a price: a Lagrange multiplier moved by dual ascent.

Paper: Tessler, Mankowitz and Mannor 2019, "Reward constrained policy optimization", algorithm 1:
the reward is penalised by the multiplier times the constraint's cost, and the multiplier rises with
the violation and never falls below 0. The price is that of one ad beyond the cap, in currency
units, so that it can be read: an ad must bring that much more than it costs. A step is ``rate``
times what an ad pays times the load above the cap, as a share of the cap. Deviation: it moves at
each step of all lanes, as fast as the policy does; after `SETTLING` of them its steps shrink as
1 / t (Robbins and Monro 1951, "A stochastic approximation method"), so that it comes to rest.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from agents.ads.base import best_payment_per_ad
from recgym.ads.records import Options

SETTLING = 100  # steps of all lanes


class Multiplier:
    """Price of an ad beyond the cap.

    Args:
        load_cap: ads ÷ all impressions that the policy may come to; None: no constraint.
        rate: of a step.
        device: of the price.
    """

    def __init__(self, load_cap: float | None, rate: float, device: torch.device) -> None:
        self.load_cap, self.rate = load_cap, rate
        self.price = torch.zeros((), device=device)  # currency units
        self.steps = 0

    def excess(self, num_ads_N: Tensor, impressions_N: Tensor) -> Tensor:
        """Ads beyond the cap of each page, [N]; negative below it, 0 without one."""
        cap = self.load_cap
        return 0.0 * num_ads_N if cap is None else num_ads_N - cap * impressions_N

    def step(self, num_ads_N: Tensor, impressions_N: Tensor, options: Options) -> None:
        """Move the price by pages that were, or would be, chosen out of these options."""
        if self.load_cap is None:
            return
        over = self.excess(num_ads_N, impressions_N).sum()
        cap = (self.load_cap * impressions_N.sum()).clamp(min=1.0)
        self.steps += 1
        rate = self.rate * min(1.0, SETTLING / self.steps)
        step = rate * best_payment_per_ad(options).mean() * over / cap
        self.price = (self.price + step).clamp(min=0.0)

    def state_dict(self) -> dict[str, Any]:
        """The price, and how often it moved."""
        return {"price": self.price.clone(), "steps": self.steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on at this price."""
        self.price = state_dict["price"].clone().to(self.price.device)
        self.steps = int(state_dict["steps"])
