"""The advertiser's side of the auction: one campaign bids against the others, a day at a time.

One step is one request of a shopper for ads; a lane is a day of `num_requests` of them, which come
evenly, and its budget is the campaign's for that day. The bid is the value of a click times the
multiplier that the advertiser chooses. Rivals bid what they have booked, each on a share of the
requests. With ``reaction`` above 0 a rival slowly gives up its shading, up to its value, while the
campaign outranks it, and goes back to its booked bid while it does not.

`PidPacing` is the baseline: Zhang, Rong, Wang, Zhu and Wang 2016, "Feedback control of real-time
display advertising", a PID controller whose signal moves the logarithm of the bid. Deviations: it
controls the share of the budget that is spent, with the elapsed share of the day as reference
(there a cost or a win rate, held constant); the multiplier never exceeds the one at which it
starts; and its integral holds no debt that the day cannot pay back.

Dims: N lanes · A campaigns, the advertiser's own among them · K ad slots.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import torch
from torch import Tensor

from recgym import rng
from recgym.ads import auction
from recgym.ads.records import Campaigns
from recgym.errors import UserError
from recgym.lanes import Record
from recgym.rng import Purpose
from recgym.settings import Count, Positive, Share, Within, check

Amount = Annotated[float, Within(0.0)]


@dataclass(frozen=True)
class BidState(Record):
    """A day of the campaign so far."""

    seed: Tensor  # [N] int64, lane seed
    day: Tensor  # [N] int64, part of each draw's key
    step: Tensor  # [N] int64, requests answered
    spent: Tensor  # [N] int64, micros
    rival: Tensor  # [N, A] float of at least 1, multiplier of each booked bid


@dataclass(frozen=True)
class BidOutcome(Record):
    """What one request brought the campaign."""

    slot: Tensor  # [N] int64, ad slot won, -1 for none
    clicked: Tensor  # [N] bool
    charge: Tensor  # [N] int64, micros
    value: Tensor  # [N] float, currency units that the click is worth to the advertiser
    ended: Tensor  # [N] bool, the day is over


class BidStream:
    """Requests that one campaign bids on; holds parameters, never state.

    Args:
        campaigns: see `recgym.ads.campaigns`; their days and paces are not used.
        own: which of them bids by the multiplier.
        num_requests: of a day.
        num_ad_slots: K, of a request.
        pricing: per click, `gsp`, `first_price` or `vcg`.
        alpha: exponent of pctr in the rank score.
        reserve: currency units, the least price of a click.
        rate: probability of a click in the first slot, on average.
        rate_spread: standard deviation of its logarithm from one request and campaign to another.
        participation: share of requests that a rival takes part in.
        reaction: change of the logarithm of a rival's bid on each request.
    """

    def __init__(
        self,
        campaigns: Campaigns,
        *,
        own: Annotated[int, Within(0)] = 0,
        num_requests: Count = 500,
        num_ad_slots: Count = 2,
        pricing: str = "gsp",
        alpha: Annotated[float, Within(0.0, 2.0)] = 1.0,
        reserve: Amount = 0.02,
        rate: Positive = 0.05,
        rate_spread: Amount = 0.5,
        participation: Share = 0.2,
        reaction: Amount = 0.0,
    ) -> None:
        plain = dict(own=own, num_requests=num_requests, num_ad_slots=num_ad_slots, alpha=alpha)
        plain |= dict(reserve=reserve, rate=rate, rate_spread=rate_spread)
        check("bidding", {**plain, "participation": participation, "reaction": reaction}, BidStream)
        if auction.EVENT[auction.pricing_named(pricing)] != "click":
            raise UserError(
                f"bidding.pricing={pricing!r}: expected one that is paid per click, such as gsp."
            )
        if own >= campaigns.num_campaigns:
            raise UserError(
                f"bidding.own={own}: expected a campaign from 0 to {campaigns.num_campaigns - 1}."
            )
        self.campaigns, self.own, self.pricing = campaigns, own, pricing
        self.num_requests, self.alpha, self.reserve = num_requests, alpha, reserve
        self.rate, self.rate_spread = rate, rate_spread
        self.participation, self.reaction = participation, reaction
        device = campaigns.item.device
        slot_K = torch.arange(1, num_ad_slots + 1, device=device, dtype=torch.float64)
        self.position_K = slot_K**-0.5
        self.budget = campaigns.budget[own]
        self._bid_A, self._value_A = campaigns.bid.double(), campaigns.value.double()
        self._unshaded_A = (self._value_A / self._bid_A.clamp(min=1e-12)).clamp(min=1.0)
        self._own_A = torch.arange(campaigns.num_campaigns, device=device) == own

    def begin(self, seed_N: Tensor, day_N: Tensor) -> BidState:
        """Each lane's day before its first request."""
        none_N = torch.zeros_like(seed_N)
        rival_NA = torch.ones(len(seed_N), len(self._own_A), dtype=torch.float64)
        return BidState(seed_N, day_N, none_N, none_N, rival_NA.to(seed_N.device))

    def share_left(self, state: BidState) -> tuple[Tensor, Tensor]:
        """Shares of the day and of the budget that are left, each [N] float64."""
        day_N = 1.0 - state.step.double() / self.num_requests
        return day_N, 1.0 - state.spent.double() / self.budget.double()

    def step(self, state: BidState, multiplier_N: Tensor) -> tuple[BidState, BidOutcome]:
        """The state and outcome of one request, bid on at the value times the multiplier.

        A bid above what is left of the budget takes no part.
        """
        u_NA, z_NA, u_N = self._draws(state)
        own_N1 = multiplier_N.double().clamp(min=0.0).unsqueeze(-1) * self._value_A[self.own]
        bid_NA = torch.where(self._own_A, own_N1, self._bid_A * state.rival)
        left_N1 = (self.budget - state.spent).unsqueeze(-1)
        takes_NA = torch.where(
            self._own_A, auction.micros(bid_NA) <= left_N1, u_NA < self.participation
        )
        takes_NA &= bid_NA >= self.reserve
        spread = self.rate_spread
        pctr_NA = (self.rate * (spread * z_NA - spread**2 / 2).exp()).clamp(max=1.0)
        weight_NA = auction.weight(pctr_NA, self.campaigns.quality.double(), self.alpha)
        score_NA = (bid_NA * weight_NA).masked_fill(~takes_NA, -torch.inf)
        column_NK, price_NK = self._auction(bid_NA, pctr_NA, weight_NA, score_NA)
        won_NK = column_NK == self.own
        slot_N = torch.where(won_NK, torch.arange(won_NK.shape[1], device=u_N.device), -1).amax(-1)
        chance_N = pctr_NA[:, self.own] * (self.position_K * won_NK).sum(-1)
        clicked_N = u_N < chance_N
        charge_N = auction.micros((price_NK * won_NK).sum(-1)) * clicked_N
        beaten_NA = takes_NA & (score_NA < score_NA[:, self.own : self.own + 1])
        following = replace(
            state,
            step=state.step + 1,
            spent=state.spent + charge_N,
            rival=self._reacted(state.rival, beaten_NA, takes_NA),
        )
        value_N = self._value_A[self.own] * clicked_N
        ended_N = following.step >= self.num_requests
        return following, BidOutcome(slot_N, clicked_N, charge_N, value_N, ended_N)

    def _draws(self, state: BidState) -> tuple[Tensor, Tensor, Tensor]:
        """Who takes part [N, A], normals of the clicks' rates [N, A], the click's uniform [N]."""
        key_N = rng.key(state.seed, state.day, state.step, Purpose.BIDDING)
        count = len(self._own_A)
        u_NA = rng.uniform(rng.mix(key_N + 1), count, torch.float64)
        z_NA = rng.normal(rng.mix(key_N + 2), count, torch.float64)
        return u_NA, z_NA, rng.uniform(rng.mix(key_N + 3), dtype=torch.float64)

    def _auction(
        self, bid_NA: Tensor, pctr_NA: Tensor, weight_NA: Tensor, score_NA: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Campaign that wins each ad slot, -1 for none, and its price per click, both [N, K]."""
        num_lanes, num_slots = len(bid_NA), len(self.position_K)
        every_NK = torch.ones(num_lanes, num_slots, dtype=torch.bool, device=bid_NA.device)
        column_NK = auction.winners(score_NA, every_NK, torch.full_like(every_NK.long(), -1))
        at_NK = column_NK.clamp(min=0)
        won = auction.Won(
            ad=column_NK >= 0,
            bid=bid_NA.gather(-1, at_NK),
            weight=weight_NA.gather(-1, at_NK),
            following=auction.following(score_NA).gather(-1, at_NK),
            chance=pctr_NA.gather(-1, at_NK) * self.position_K,
            effect=self.position_K.expand(num_lanes, -1),
        )
        reserve_N = torch.full_like(bid_NA[:, 0], self.reserve)
        return column_NK, auction.prices(self.pricing, won, reserve_N)

    def _reacted(self, rival_NA: Tensor, beaten_NA: Tensor, takes_NA: Tensor) -> Tensor:
        """The rivals' multipliers after a request: up where beaten, down where not."""
        step_NA = self.reaction * (2.0 * beaten_NA - 1.0) * takes_NA
        return torch.minimum((rival_NA * step_NA.exp()).clamp(min=1.0), self._unshaded_A)


class PidPacing:
    """Spends the budget in step with the day; see the module.

    Args:
        most: multiplier that it starts with and never exceeds; 1 bids the value.
        proportional: gain of the error, in logarithms of the multiplier.
        integral: gain of the error's mean over the day so far, times the share of the day.
        derivative: gain of the error's last change.
    """

    def __init__(
        self,
        *,
        most: Positive = 1.0,
        proportional: Amount = 5.0,
        integral: Amount = 20.0,
        derivative: Amount = 0.0,
    ) -> None:
        check("pid", {k: v for k, v in locals().items() if k != "self"}, PidPacing)
        self.most, self.integral = most, integral
        self.proportional, self.derivative = proportional, derivative

    def begin(self, state: BidState) -> PidState:
        """Before the first request."""
        nought_N = torch.zeros_like(state.step, dtype=torch.float64)
        return PidState(nought_N, nought_N)

    def act(self, stream: BidStream, state: BidState, memory: PidState) -> tuple[Tensor, PidState]:
        """The multiplier for the next request [N], and what is remembered."""
        return self.paced(*stream.share_left(state), memory, stream.num_requests)

    def paced(
        self, day_N: Tensor, budget_N: Tensor, memory: PidState, num_steps: int
    ) -> tuple[Tensor, PidState]:
        """The same from the shares of day and budget that are left, of a day of so many steps."""
        error_N = budget_N - day_N  # of what should be spent by now, as a share of the budget
        # time that nobody bid against is not saved up, to be spent at any price later
        total_N = (memory.total + error_N / num_steps).clamp(max=0.0)
        signal_N = self.proportional * error_N + self.integral * total_N
        signal_N = signal_N + self.derivative * (error_N - memory.error)
        return self.most * signal_N.clamp(-5.0, 0.0).exp(), PidState(error_N, total_N)


@dataclass(frozen=True)
class PidState(Record):
    """What the controller remembers of a day."""

    error: Tensor  # [N] float64, last one
    total: Tensor  # [N] float64, sum of the errors over the day's requests


def play(stream: BidStream, seed_N: Tensor, policy: PidPacing | float) -> tuple[Tensor, Tensor]:
    """Value won [N] float64 and micros spent [N] of one day each; a number is a constant bid."""
    state = stream.begin(seed_N, torch.zeros_like(seed_N))
    value_N = torch.zeros_like(seed_N, dtype=torch.float64)
    constant_N = torch.full_like(value_N, policy) if isinstance(policy, float) else None
    memory = policy.begin(state) if isinstance(policy, PidPacing) else None
    for _ in range(stream.num_requests):
        multiplier_N = constant_N
        if isinstance(policy, PidPacing) and memory is not None:
            multiplier_N, memory = policy.act(stream, state, memory)
        assert multiplier_N is not None
        state, outcome = stream.step(state, multiplier_N)
        value_N = value_N + outcome.value
    return value_N, state.spent
