"""The ad-load target as a price: a Lagrange multiplier moved by a PID controller.

Paper: Stooke, Achiam and Abbeel 2020, "Responsive safety in reinforcement learning by PID
Lagrangian methods", algorithm 2: the multiplier is the sum of three terms in the violation of the
constraint, and never below 0: a share of it (proportional), its sum over all steps, itself never
below 0 (integral), and a share of its last rise (derivative). With the integral alone it is the
dual ascent of Tessler, Mankowitz and Mannor 2019, "Reward constrained policy optimization",
algorithm 1.

The price is that of one ad beyond the cap, in currency units, so that it can be read: an ad must
bring that much more than it costs. All terms are in units of what the best option pays an ad, and
the violation is the load above the cap as a share of the cap, so that gains mean the same in any
shop. A price of one such unit about halves what is worth showing: with ``rate`` alone the violation
falls by that share a step, and 1 / rate steps are too few to end at the cap.

Deviations: it moves at each step of all lanes, as fast as the policy does. The proportional and the
derivative term read a mean of the violation that forgets by ``smoothing``, since a step of few
lanes is noisy. With ``settling`` the integral's steps shrink as 1 / t after so many (Robbins and
Monro 1951, "A stochastic approximation method"), so that it comes to rest.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

SETTLING = 100  # steps of all lanes


class Multiplier:
    """Price of an ad beyond the cap.

    Args:
        load_cap: ads ÷ all impressions that the policy may come to; None: no constraint.
        rate: gain of the integral, of a step.
        device: of the price.
        proportional: gain of the violation itself.
        derivative: gain of its last rise.
        smoothing: weight of the newest step in the violation that these two read.
        settling: steps after which those of the integral shrink; None: never.
    """

    def __init__(
        self,
        load_cap: float | None,
        rate: float,
        device: torch.device,
        *,
        proportional: float = 0.0,
        derivative: float = 0.0,
        smoothing: float = 0.1,
        settling: int | None = SETTLING,
    ) -> None:
        self.load_cap, self.rate, self.settling = load_cap, rate, settling
        self.proportional, self.derivative = proportional, derivative
        self.smoothing = smoothing
        self.price = torch.zeros((), device=device)  # currency units
        self.integral = torch.zeros_like(self.price)  # of it
        self.violation = torch.zeros_like(self.price)  # smoothed, a share of the cap
        self.steps = 0

    def excess(self, num_ads_N: Tensor, impressions_N: Tensor) -> Tensor:
        """Ads beyond the cap of each page, [N]; negative below it, 0 without one."""
        cap = self.load_cap
        return 0.0 * num_ads_N if cap is None else num_ads_N - cap * impressions_N

    def step(self, num_ads_N: Tensor, impressions_N: Tensor, unit: Tensor) -> None:
        """Move the price by pages with, or with what would be, so many ads.

        Args:
            num_ads_N: of each page.
            impressions_N: items and ads of each page.
            unit: currency units that the best options pay an ad, on average, [].
        """
        if self.load_cap is None:
            return
        over = self.excess(num_ads_N, impressions_N).sum()
        cap = (self.load_cap * impressions_N.sum()).clamp(min=1.0)
        self.steps += 1
        rate = self.rate
        if self.settling is not None:
            rate = rate * min(1.0, self.settling / self.steps)
        self.integral = (self.integral + rate * unit * over / cap).clamp(min=0.0)
        smoothed = torch.lerp(self.violation, over / cap, self.smoothing)
        rise = (smoothed - self.violation).clamp(min=0.0)
        self.violation = smoothed
        felt = self.proportional * smoothed + self.derivative * rise
        self.price = (self.integral + unit * felt).clamp(min=0.0)

    def shift(self, violation: Tensor, unit: Tensor) -> None:
        """Move the price and its integral by a share of the cap; see `step` for the unit."""
        before = self.integral
        self.integral = (before + unit * violation).clamp(min=0.0)
        self.price = (self.price + self.integral - before).clamp(min=0.0)

    def state_dict(self) -> dict[str, Any]:
        """The price and what moves it, and how often it moved."""
        parts = {name: getattr(self, name).clone() for name in ("price", "integral", "violation")}
        return {**parts, "steps": self.steps}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on at this price."""
        for name in ("price", "integral", "violation"):
            setattr(self, name, state_dict[name].clone().to(self.price.device))
        self.steps = int(state_dict["steps"])
