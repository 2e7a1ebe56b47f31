"""Ads put at random among a logging policy's items, so that their effects are identified.

On a share of the pages one of the legal patterns is drawn, all alike, and each of its slots gets
the item of another campaign, all alike: nothing about the shopper decides, neither budgets nor bids
do. An empty page stays one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from recgym import rng
from recgym.ads.campaigns import draw_campaigns
from recgym.ads.placement import PlacementRules, merge, patterns
from recgym.errors import UserError
from recgym.rng import Purpose
from recgym.settings import Share, check
from recgym.types import Catalog, Observation
from recgym.users.ad_law import AdLaw


@dataclass(frozen=True, kw_only=True)
class AdLog:
    """What a log with ads is written by.

    Attributes:
        law: of what ads do to the shoppers: a preset of `recgym.users.ad_law`, or numbers by name.
        share: of the pages, on which ads stand.
        campaigns: keywords of `recgym.ads.campaigns.draw_campaigns`.
        rules: keywords of `recgym.ads.placement.PlacementRules`; of repetition it knows no limit.
    """

    law: Any = "mild"
    share: Share = 0.5
    campaigns: Mapping[str, Any] = field(default_factory=dict)
    rules: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> AdLog:
        """Of a ``conf/log`` entry.

        Raises:
            UserError: naming the first setting that cannot be used.
        """
        if not isinstance(given, Mapping):
            raise UserError(
                f"log.ads={given}: expected settings such as {{law: mild, share: 0.5}}, or null."
            )
        check("log.ads", given, cls)
        for name, target in (("campaigns", draw_campaigns), ("rules", PlacementRules)):
            check(f"log.ads.{name}", given.get(name, {}), target)
        AdLaw.of(given.get("law", "mild"))
        return cls(**given)

    def described(self) -> dict[str, Any]:
        """All that decides the rows, a preset by its numbers."""
        named = {} if isinstance(self.law, str) else dict(self.law)
        # place and ordinary mass, where they are not given, are the shop's
        measured = [name for name in ("position", "ordinary") if name not in named]
        numbers = dataclasses.asdict(AdLaw.of(self.law))
        law = {name: value for name, value in numbers.items() if name not in measured}
        return {**vars(self), "law": law}


class RandomAds:
    """Where ads stand, and which.

    Args:
        catalog: whose items are advertised.
        settings: of the log.
        num_slots: K.
    """

    def __init__(self, catalog: Catalog, settings: AdLog, num_slots: int) -> None:
        rules = PlacementRules(**settings.rules)
        device = catalog.category.device
        self.share, self.max_ads = settings.share, rules.max_ads
        self.pattern_JK = patterns(rules, num_slots)[1:].to(device)
        if not len(self.pattern_JK):
            raise UserError(
                f"log.ads.rules: no slot of a page of {num_slots} may hold an ad; raise num_slots, "
                "or set first_slot=true."
            )
        item_A = draw_campaigns(catalog, **settings.campaigns).item
        excluded = torch.tensor(rules.excluded_categories, dtype=torch.int64, device=device)
        self.item_A = item_A[~torch.isin(catalog.category[item_A], excluded)]

    def insert(
        self, observation: Observation, item_NK: Tensor, propensity_NK: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The page's items with ads among them, their propensities, and which are ads, [N, K].

        Propensities are those given which slots hold ads: of an organic item as it was, of an ad
        one in as many as are left of the campaigns whose item does not stand on the page.
        """
        who, page_N = observation.arrival, observation.visit.page_number
        key_N = rng.key(who.seed, who.session, page_N, Purpose.AD_LOG)
        u_N2 = rng.uniform(key_N, 2, torch.float64)
        place_NK = self.pattern_JK[(u_N2[:, 1] * len(self.pattern_JK)).long()]
        filled_N = (item_NK >= 0).any(-1)
        place_NK = place_NK & ((u_N2[:, 0] < self.share) & filled_N).unsqueeze(-1)
        free_NA = (item_NK.unsqueeze(1) != self.item_A.unsqueeze(-1)).all(-1)
        order_NA = rng.uniform(rng.mix(key_N + 1), len(self.item_A), torch.float64)
        order_NA = order_NA.masked_fill(~free_NA, 2.0)  # behind all that are free
        nth_NK = (place_NK.cumsum(-1) - 1).clamp(min=0)
        left_NK = free_NA.sum(-1, keepdim=True) - nth_NK
        place_NK = place_NK & (left_NK > 0)
        drawn_NA = order_NA.argsort(-1)
        campaign_NK = drawn_NA.gather(-1, nth_NK.clamp(max=len(self.item_A) - 1))
        ad_NK = self.item_A[campaign_NK].masked_fill(~place_NK, -1)
        rank_NK = ((~place_NK).cumsum(-1) - 1).clamp(min=0)
        chance_NK = torch.where(
            place_NK, 1.0 / left_NK.clamp(min=1), propensity_NK.gather(-1, rank_NK)
        )
        return merge(item_NK, ad_NK), chance_NK.to(propensity_NK), place_NK
