"""What a site knows of a page in its history, as features of a linear Q; no hidden state enters."""

from __future__ import annotations

import torch
from torch import Tensor

from recgym import visit
from recgym.types import After, Observation

MAX_CROSSED = 100  # features of items times profile; more are left out
FADING = 0.7  # weight of each view in the recent taste, against the one after it


class Features:
    """Of histories and pages; an item's own effect is a feature each.

    Args:
        unit: money of features counts in it.
    """

    def __init__(self, unit: float) -> None:
        self.unit = unit

    def state(self, seen: Observation) -> Tensor:
        """Of histories alone, [N, F]."""
        now, past_NL = seen.visit, seen.visit.history_item
        after_NL = now.history_after
        value_N = now.cart_value() / self.unit
        number_N = now.page_number.to(value_N)
        counts = [
            torch.ones_like(value_N),
            number_N == 0,
            number_N.log1p(),
            number_N,
            now.cart_count() > 0,
            now.cart_count(),
            value_N,
            value_N.log1p(),
            (past_NL >= 0).sum(-1),
            (now.history_slot >= 0).sum(-1),
            (after_NL == int(After.CART)).sum(-1),
            (after_NL == int(After.BUY)).sum(-1),
            (after_NL == int(After.FAVOURITE)).sum(-1),
            now.gap.log1p(),
        ]
        site_NF = torch.stack([x.to(value_N) for x in counts], -1)
        return torch.cat([site_NF, seen.arrival.profile.to(value_N), self._taste(seen)], -1)

    def page(self, seen: Observation, item_NK: Tensor) -> Tensor:
        """Of the page, [N, F]: sums over its slots, once with and once without their rank."""
        filled_NK = (item_NK >= 0).to(seen.catalog.feature)
        index_NK = item_NK.clamp(min=0)
        count = seen.catalog.num_items
        own_NI = filled_NK.new_zeros(len(item_NK), count).scatter_add(-1, index_NK, filled_NK)
        own_NI = _crossed(own_NI, seen.arrival.profile.to(own_NI))
        taste_NE = self._taste(seen)
        match_NK = (seen.catalog.feature[index_NK] * taste_NE.unsqueeze(1)).sum(-1)
        price_NK = seen.catalog.price_of(index_NK, seen.visit.time_ms) / self.unit
        viewed_NK = (index_NK.unsqueeze(-1) == seen.visit.history_item.unsqueeze(1)).any(-1)
        shown_NK = visit.times_shown(item_NK, seen.visit.recent_item)
        begun_N1 = (seen.visit.page_number > 0).to(match_NK).unsqueeze(-1)
        each_NKJ = torch.stack(
            [
                torch.ones_like(match_NK),
                match_NK,
                match_NK.square(),
                price_NK.clamp(min=1e-6).log(),
                viewed_NK.to(match_NK),
                shown_NK.to(match_NK),
                begun_N1.expand_as(match_NK),
            ],
            -1,
        ) * filled_NK.unsqueeze(-1)
        rank_K = torch.arange(item_NK.shape[1], device=item_NK.device).to(match_NK)
        ranked_NKJ = each_NKJ / (1.0 + rank_K).unsqueeze(-1)
        return torch.cat([own_NI, each_NKJ.sum(1), ranked_NKJ.sum(1)], -1)

    def _taste(self, seen: Observation) -> Tensor:
        """Features of the last views, fading, [N, E]."""
        past_NL = seen.visit.history_item
        feature_IE = seen.catalog.feature
        weight_L = FADING ** torch.arange(past_NL.shape[1], device=past_NL.device).to(feature_IE)
        weight_NL = (past_NL >= 0) * weight_L
        weight_NL = weight_NL / weight_NL.sum(-1, keepdim=True).clamp(min=1e-9)
        return (weight_NL.unsqueeze(-1) * feature_IE[past_NL.clamp(min=0)]).sum(1)


def _crossed(own_NI: Tensor, profile_NP: Tensor) -> Tensor:
    """Items, and where they are few, items by what the profile says of the shopper."""
    if own_NI.shape[1] * profile_NP.shape[1] > MAX_CROSSED:
        return own_NI
    both_NPI = profile_NP.unsqueeze(-1) * own_NI.unsqueeze(1)
    return torch.cat([own_NI, both_NPI.flatten(1)], -1)
