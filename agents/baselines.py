"""Honest baselines: random, popular and greedy; the oracle is greedy with the truth.

The policy *nothing* is `recgym.logging_policy.EmptyPages`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recgym import choice, organic, rng
from recgym.rng import Purpose
from recgym.types import Observation, Page, Visit
from recgym.users.base import Shoppers, by_segment


class Random:
    """K different items, each as likely as any other."""

    def __init__(self, *, num_slots: int) -> None:
        self.num_slots = num_slots

    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        """Items [N, K], a function of (lane seed, session, page)."""
        return top_k(self.scores(observation), observation.eligible, self.num_slots)

    def scores(self, observation: Observation) -> Tensor:
        """The draw of each item, [N, I]."""
        who = observation.arrival
        key_N = rng.key(who.seed, who.session, observation.visit.page_number, Purpose.POLICY)
        return rng.uniform(key_N, observation.catalog.num_items, observation.feature.dtype)


class Popular:
    """The same K items for all: the most viewed of the training period."""

    def __init__(self, views_I: Tensor, *, num_slots: int) -> None:
        self.views_I, self.num_slots = views_I, num_slots

    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        """Items [N, K], the most viewed first."""
        return top_k(self.scores(observation), observation.eligible, self.num_slots)

    def scores(self, observation: Observation) -> Tensor:
        """Views of each item, [N, I]."""
        return self.views_I.to(observation.feature).expand_as(observation.eligible)


class Greedy:
    """Top K by P(click if shown alone) · P(sold | click) · price, after the model's own belief.

    Sold counts what is bought at once and, at the log's share of carted items that are paid, what
    goes into the cart. With a true shop as ``model``, over that shop's own state, this is the
    oracle: a myopic ceiling.

    Args:
        model: whose state stands in ``observation.encoder``.
        cart_paid: share of carted items that are paid in the end, from the log.
    """

    def __init__(self, model: Shoppers, *, num_slots: int, cart_paid: float) -> None:
        self.model, self.num_slots, self.cart_paid = model, num_slots, cart_paid

    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        """Items [N, K], the best first."""
        return top_k(self.scores(observation), observation.eligible, self.num_slots)

    @torch.no_grad()
    def scores(self, observation: Observation) -> Tensor:
        """Money that each item would bring if shown alone, currency units, [N, I]."""
        reading, price_NI = self.model.read(observation.encoder), observation.price
        sold_NI = torch.zeros_like(price_NI)
        for share_N1, supposed in by_segment(self.model, reading):
            click_NI = click_alone(self.model, supposed, observation.visit, price_NI)
            after = self.model.after(supposed, None, price_NI, True)
            buy_NI = torch.sigmoid(after.buy)
            paid_NI = buy_NI + (1.0 - buy_NI) * torch.sigmoid(after.cart) * self.cart_paid
            sold_NI = sold_NI + share_N1 * click_NI * paid_NI
        return sold_NI * price_NI


class GreedyClicks:
    """Top K by P(click if shown alone), whatever it sells, after the model's own belief.

    Args:
        model: whose state stands in ``observation.encoder``.
    """

    def __init__(self, model: Shoppers, *, num_slots: int) -> None:
        self.model, self.num_slots = model, num_slots

    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        """Items [N, K], the most likely click first."""
        return top_k(self.scores(observation), observation.eligible, self.num_slots)

    @torch.no_grad()
    def scores(self, observation: Observation) -> Tensor:
        """Chance that each item would be clicked if shown alone, [N, I]."""
        reading, price_NI = self.model.read(observation.encoder), observation.price
        clicked_NI = torch.zeros_like(price_NI)
        for share_N1, supposed in by_segment(self.model, reading):
            click_NI = click_alone(self.model, supposed, observation.visit, price_NI)
            clicked_NI = clicked_NI + share_N1 * click_NI
        return clicked_NI


def empty_page_law(model: Shoppers, reading: Any, visit: Visit) -> choice.Law:
    """How shoppers would answer an empty page."""
    empty = Page(visit.recent_item[:, :0], visit.cart_price[:, :0])
    return choice.law(model.respond(reading, empty, visit), visit)


def alone(
    model: Shoppers, reading: Any, law: choice.Law, visit: Visit, price_NI: Tensor
) -> tuple[Tensor, Tensor]:
    """Mass that each item adds, and that it takes over, shown alone in the first slot, [N, I].

    ``law`` is that of the empty page.
    """
    found_NI = organic.probabilities(law.response.organic)
    log_found_NI = found_NI.clamp(min=torch.finfo(found_NI.dtype).tiny).log()
    appeal_NI, d = model.appeal(reading, visit, price_NI), law.response.dissimilarity
    added_NI, kept_NI = choice.nest(log_found_NI, appeal_NI, d)
    rivalry = model.rivals(reading)
    if rivalry is not None:
        kept_NI = choice.kept(rivalry, log_found_NI, appeal_NI, d)
    return added_NI, found_NI * (1.0 - kept_NI)


def click_alone(model: Shoppers, reading: Any, visit: Visit, price_NI: Tensor) -> Tensor:
    """P(click | an item is viewed) of each item shown alone in the first slot, [N, I]."""
    law = empty_page_law(model, reading, visit)
    added_NI, taken_NI = alone(model, reading, law, visit, price_NI)
    return (added_NI + taken_NI) / (1.0 + added_NI)


def top_k(score_NI: Tensor, eligible_NI: Tensor, num_slots: int) -> Tensor:
    """The K best eligible items, [N, K]; -1 where fewer are eligible."""
    masked_NI = torch.where(eligible_NI, score_NI, torch.full_like(score_NI, -torch.inf))
    best = masked_NI.topk(min(num_slots, score_NI.shape[1]), -1)
    item_NK = torch.where(
        best.values == -torch.inf, torch.full_like(best.indices, -1), best.indices
    )
    return torch.nn.functional.pad(item_NK, (0, num_slots - item_NK.shape[1]), value=-1)


def spread(item_NM: Tensor, score_NM: Tensor, num_items: int) -> Tensor:
    """Scores of M items a lane, -1 for none, as those of all items, [N, I]; -inf elsewhere."""
    score_NM = score_NM.masked_fill(item_NM < 0, -torch.inf)
    none_NJ = score_NM.new_full((len(item_NM), num_items + 1), -torch.inf)
    return none_NJ.scatter(-1, item_NM + 1, score_NM)[:, 1:]
