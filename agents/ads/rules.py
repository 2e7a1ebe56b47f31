"""Rules of ad placement: the baselines of every table. None learns, none looks ahead.

All read only what is known before the auction: which slots an option takes (`Options.place`), how
many ads it shows, and what they are expected to pay.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from agents.ads.base import best, options_of, payment_per_ad
from agents.outlook import fitted, outlook_of
from recgym.ads.records import AdObservation
from recgym.ads.rollout import NoAds
from recgym.errors import UserError
from recgym.settings import Share, Within
from recgym.types import Observation
from recgym.users.sequence import SequenceModel

__all__ = ["FixedSlots", "GreedyAds", "NoAds", "OneRanking", "Threshold"]


class FixedSlots:
    """As many ads as may stand in these slots and in no others; of equal ones the best paid.

    Args:
        slots: counted from 0.
    """

    def __init__(self, slots: list[int] | tuple[int, ...] = (2,)) -> None:
        if not slots or any(slot < 0 for slot in slots):
            raise UserError(f"agent.slots={list(slots)}: expected slots, counted from 0.")
        self.slots = tuple(slots)

    def act(self, observation: AdObservation, *, explore: bool = False) -> Tensor:
        """The option, [N]."""
        options = options_of(observation)
        num_slots = options.place.shape[-1]
        if max(self.slots) >= num_slots:
            raise UserError(
                f"agent.slots={list(self.slots)}: expected slots from 0 to {num_slots - 1}, of a "
                f"page of {num_slots}."
            )
        other_K = torch.ones(num_slots, dtype=torch.bool, device=options.place.device)
        other_K[list(self.slots)] = False
        within_NJ = ~(options.place & other_K).any(-1) & options.allowed
        most_N1 = options.num_ads.masked_fill(~within_NJ, 0).amax(-1, keepdim=True)
        return best(options.payment, within_NJ & (options.num_ads == most_N1))


class GreedyAds:
    """The option that is expected to pay most on this page."""

    def act(self, observation: AdObservation, *, explore: bool = False) -> Tensor:
        """The option, [N]."""
        return best(self.scores(observation), options_of(observation).allowed)

    def scores(self, observation: AdObservation) -> Tensor:
        """What each option is expected to pay, [N, J] currency units."""
        return options_of(observation).payment


class Threshold:
    """The best paid option whose ads are expected to pay at least so much apiece.

    Args:
        threshold: currency units an ad.
    """

    def __init__(self, threshold: Annotated[float, Within(0.0)] = 0.01) -> None:
        self.threshold = threshold

    def act(self, observation: AdObservation, *, explore: bool = False) -> Tensor:
        """The option, [N]."""
        return best(self.scores(observation), options_of(observation).allowed)

    def scores(self, observation: AdObservation) -> Tensor:
        """What each option is expected to pay, -inf below the threshold, [N, J] currency units."""
        options = options_of(observation)
        good_NJ = (payment_per_ad(options) >= self.threshold) | (options.num_ads == 0)
        return options.payment.masked_fill(~good_NJ, -torch.inf)


class OneRanking:
    """One ranking of the whole page: each slot holds what is worth more there, an item or an ad.

    An item is worth the platform's share of what the fitted user model expects it to sell if shown
    alone, an ad what it is expected to pay. Among the legal pages the one of highest sum is shown.

    Args:
        user_model: that says what items sell.
        cart_paid: share of carted items that are paid.
        take_rate: the platform's share of sales.
        position: loss of attention with the slot, as a power of its number counted from 1.
    """

    def __init__(
        self,
        *,
        user_model: SequenceModel | None,
        cart_paid: float,
        take_rate: Share = 0.1,
        position: Annotated[float, Within(0.0)] = 0.5,
    ) -> None:
        self.user_model = fitted(user_model, "agents of the kind of agent=ad_ranking value items")
        self.cart_paid, self.take_rate, self.position = cart_paid, take_rate, position

    def act(self, observation: AdObservation, *, explore: bool = False) -> Tensor:
        """The option, [N]."""
        return best(self.scores(observation), options_of(observation).allowed)

    @torch.no_grad()
    def scores(self, observation: AdObservation) -> Tensor:
        """What ads and items of each option's page are worth, [N, J] currency units."""
        options, organic_NK = options_of(observation), observation.request.organic
        worth_NK = self.take_rate * self._sales(observation.base, organic_NK)
        return options.payment + page_worth(worth_NK, options.place, self.position)

    def _sales(self, observation: Observation, item_NK: Tensor) -> Tensor:
        """Currency units that each item is expected to sell, were it alone on the page, [N, K]."""
        seen = outlook_of(self.user_model, observation, item_NK)
        money_NK = seen.sold[..., 0] + self.cart_paid * seen.sold[..., 1]
        # not what it takes over from what would be found anyway: that is sold without it
        share_NK = seen.added / (1.0 + seen.added)
        return seen.go_on.unsqueeze(-1) * share_NK * money_NK


def page_worth(worth_NK: Tensor, place_NJK: Tensor, position: float) -> Tensor:
    """What the items of a page with ads in these places are worth, [N, J].

    Ads push items down, in their order, and the last ones off the page.

    Args:
        worth_NK: of the item of each rank, in the first slot.
        place_NJK: slots that ads take.
        position: loss with the slot.
    """
    slot_K = torch.arange(1, worth_NK.shape[-1] + 1, device=worth_NK.device)
    rank_NJK = (~place_NJK).cumsum(-1) - 1  # of the item in each slot that holds one
    moved_NJK = worth_NK.unsqueeze(1).expand_as(place_NJK).gather(-1, rank_NJK.clamp(min=0))
    seen_NJK = moved_NJK * slot_K.to(worth_NK.dtype) ** -position
    return seen_NJK.masked_fill(place_NJK, 0.0).sum(-1)
