"""Frozen rankings that fill a page's organic slots where the agent decides about ads alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recgym.types import Observation
from recgym.users.base import Shoppers
from recgym.users.sequence import SequenceModel


class FixedRanking:
    """The same K items for all.

    Args:
        score_I: of each item; the highest stands first.
        num_slots: K.
    """

    def __init__(self, score_I: Tensor, *, num_slots: int) -> None:
        self.score_I, self.num_slots = score_I, num_slots

    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        """Items [N, K], the best first."""
        return _best(self.scores(observation), observation, self.num_slots)

    def scores(self, observation: Observation) -> Tensor:
        """Of each item, [N, I]."""
        return self.score_I.to(observation.feature).expand_as(observation.eligible)


class ValueRanking:
    """By the mass that an item would have in the first slot, times P(buy | click), times price.

    Args:
        model: a fitted user model whose state stands in ``observation.encoder``.
        num_slots: K.
    """

    def __init__(self, model: SequenceModel, *, num_slots: int) -> None:
        self.model, self.num_slots = model, num_slots

    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        """Items [N, K], the best first."""
        return _best(self.scores(observation), observation, self.num_slots)

    @torch.no_grad()
    def scores(self, observation: Observation) -> Tensor:
        """Currency units an item, up to a factor of the lane, [N, I]."""
        state: Any = observation.encoder
        typical, price_NI = self.model.typical(self.model.read(state)), observation.price
        mass_NI = self.model.appeal(typical, observation.visit, price_NI).exp()
        buy_NI = torch.sigmoid(self.model.after(typical, None, price_NI, True).buy)
        return mass_NI * buy_NI * price_NI


def ranking_of(
    shop: Shoppers, encoder: Shoppers | None, num_slots: int
) -> FixedRanking | ValueRanking:
    """By value where a fitted model reads the visit, else by fame, else by the items' order."""
    if isinstance(encoder, SequenceModel):
        return ValueRanking(encoder, num_slots=num_slots)
    order_I = -torch.arange(shop.catalog.num_items, device=shop.catalog.category.device)
    fame_I = getattr(shop, "fame", order_I)
    return FixedRanking(fame_I, num_slots=num_slots)


def _best(score_NI: Tensor, observation: Observation, num_slots: int) -> Tensor:
    """The K best eligible items, [N, K]; -1 where fewer are."""
    masked_NI = score_NI.masked_fill(~observation.eligible, -torch.inf)
    best = masked_NI.topk(min(num_slots, masked_NI.shape[1]), -1)
    item_NK = best.indices.masked_fill(best.values == -torch.inf, -1)
    return torch.nn.functional.pad(item_NK, (0, num_slots - item_NK.shape[1]), value=-1)
