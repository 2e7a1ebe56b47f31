"""The auction for the ad slots of a page: who ranks where, and what each pays.

Candidates are ranked by bid · pctr^alpha · quality: Edelman, Ostrovsky and Schwarz 2007, "Internet
advertising and the generalized second-price auction", and Varian 2007, "Position auctions", both
with alpha 1; Lahaie and Pennock 2007, "Revenue analysis of a family of ranking rules for keyword
auctions", for alpha between 0 (by bid alone) and 1. With weight w = pctr^alpha · quality an ad's
score is its bid times w, and x_k is the share of clicks that slot k keeps of the first one's.

- `gsp`: per click, the next score ÷ own weight.
- `first_price`: per click, the bid.
- `vcg`: per click, what the others lose by the ad's presence, as both papers of 2007 derive it: the
  price of slot k is the mean of the next scores over the slots from k down, each weighed by what
  it adds to x_k, ÷ own weight.
- `second_price_cpm`: per impression, the price of `gsp` times the estimated chance of a click.
- `cpa`: per order, the next score ÷ own weight; bids are then for orders.

No price lies below the reserve or above the bid. The reserve is on the bid, in the bid's own unit,
and enters `vcg` as a bid that each slot's threshold is floored by, so that it stays truthful
(Myerson 1981, "Optimal auction design").
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from recgym.ads.records import MICROS
from recgym.errors import UserError
from recgym.lanes import Record

EVENT = {
    "gsp": "click",
    "first_price": "click",
    "vcg": "click",
    "second_price_cpm": "impression",
    "cpa": "order",
}  # what is paid for
PRICINGS = tuple(EVENT)
LEAST = 1e-12  # of a weight that is divided by


@dataclass(frozen=True)
class Won(Record):
    """The ads of a page, slot by slot from the top. Where no ad stands, nothing is read.

    Several pages a lane, [N, J, K], will do as well.
    """

    ad: Tensor  # [N, K] bool, an ad stands there
    bid: Tensor  # [N, K] float, currency units
    weight: Tensor  # [N, K] float, pctr^alpha · quality
    following: Tensor  # [N, K] float, score of the candidate ranked next; -inf for none
    chance: Tensor  # [N, K] float, estimated probability of a click in that slot
    effect: Tensor  # [N, K] float, x_k > 0, never rising with k


def pricing_named(name: str) -> str:
    """The name itself, where there is such a pricing."""
    if name not in PRICINGS:
        raise UserError(f"pricing={name!r} is unknown: expected one of {', '.join(PRICINGS)}.")
    return name


def weight(pctr: Tensor, quality: Tensor, alpha: Tensor | float) -> Tensor:
    """What a bid is multiplied by in the ranking."""
    return pctr**alpha * quality


def rank_score(bid: Tensor, pctr: Tensor, quality: Tensor, alpha: Tensor | float) -> Tensor:
    """What candidates are ranked by, the highest first."""
    return bid * weight(pctr, quality, alpha)


def best_first(score_NQ: Tensor) -> tuple[Tensor, Tensor]:
    """Scores sorted, and the columns that they stood in; equal ones by column."""
    order_NQ = score_NQ.argsort(dim=-1, descending=True, stable=True)
    return score_NQ.gather(-1, order_NQ), order_NQ


def following(score_NQ: Tensor) -> Tensor:
    """Score of the candidate ranked next after each, [N, Q]; -inf for none."""
    sorted_NQ, order_NQ = best_first(score_NQ)
    nothing_N1 = torch.full_like(sorted_NQ[:, :1], -torch.inf)
    next_NQ = torch.cat([sorted_NQ[:, 1:], nothing_N1], -1)
    return torch.empty_like(next_NQ).scatter_(-1, order_NQ, next_NQ)


def winners(score_NQ: Tensor, place_NK: Tensor, wish_NK: Tensor) -> Tensor:
    """Column that takes each slot, [N, K], -1 for none: first those forced, then by score."""
    live_NQ = score_NQ > -torch.inf
    forced_NK = place_NK & (wish_NK >= 0)
    wished_NKQ = one_hot(wish_NK.clamp(min=0), live_NQ.shape[1]).bool()
    wished_NKQ = wished_NKQ & forced_NK.unsqueeze(-1) & live_NQ.unsqueeze(-2)
    # twice the same: the upper slot has it
    wished_NKQ = wished_NKQ & (wished_NKQ.cumsum(-2) == 1)
    left_NQ = score_NQ.masked_fill(wished_NKQ.any(-2), -torch.inf)
    sorted_NQ, order_NQ = best_first(left_NQ)
    open_NK = place_NK & ~forced_NK
    rank_NK = (open_NK.cumsum(-1) - 1).clamp(min=0)
    none_NK = ~open_NK | (rank_NK >= (sorted_NQ > -torch.inf).sum(-1, keepdim=True))
    rank_NK = rank_NK.clamp(max=live_NQ.shape[1] - 1)
    best_NK = order_NQ.gather(-1, rank_NK).masked_fill(none_NK, -1)
    return torch.where(wished_NKQ.any(-1), wish_NK, best_NK)


def prices(pricing: str, won: Won, reserve: Tensor) -> Tensor:
    """Currency units that each ad pays for the event that is paid for, [N, K]; 0 without an ad.

    The reserve is one a page, [N]: see `Won` for several pages.
    """
    reserve_N1 = reserve.unsqueeze(-1)
    if pricing == "first_price":
        price_NK = won.bid
    elif pricing == "vcg":
        price_NK = _externality(won, reserve_N1)
    else:
        price_NK = _bounded(won.following / won.weight.clamp(min=LEAST), won.bid, reserve_N1)
    if pricing == "second_price_cpm":
        price_NK = price_NK * won.chance
    return price_NK.masked_fill(~won.ad, 0.0)


def micros(amount: Tensor) -> Tensor:
    """Currency units as whole micros, int64. Rounding keeps order: a price stays within a bid."""
    return (amount.double() * MICROS).round().to(torch.int64)


def _bounded(price: Tensor, bid: Tensor, reserve: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(price, reserve), bid)


def _externality(won: Won, reserve_N1: Tensor) -> Tensor:
    """Price per click of `vcg`, [N, K]."""
    effect_NK = won.effect.masked_fill(~won.ad, 0.0)
    below_NK = torch.cat([effect_NK[..., 1:], torch.zeros_like(effect_NK[..., :1])], -1)
    # effects never rise, so the next ad's is the largest of those below
    next_NK = below_NK.flip(-1).cummax(-1).values.flip(-1)
    step_NK = (effect_NK - next_NK).masked_fill(~won.ad, 0.0)
    # what slot k would have to bid to stand in slot j at least; -inf · 0 would be nan
    threshold_NKK = won.following.unsqueeze(-2) / won.weight.clamp(min=LEAST).unsqueeze(-1)
    threshold_NKK = _bounded(threshold_NKK, won.bid.unsqueeze(-1), reserve_N1.unsqueeze(-1))
    paid_NKK = (threshold_NKK * step_NK.unsqueeze(-2)).triu()
    # each threshold lies within [reserve, bid]: so does their mean, but for rounding
    mean_NK = paid_NKK.sum(-1) / effect_NK.clamp(min=LEAST)
    return _bounded(mean_NK, won.bid, reserve_N1)
