"""Where ads may stand on a page, and how a page is filled around them.

Dims: J patterns. A pattern says of each slot whether an ad takes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Annotated

import torch
from torch import Tensor

from recgym.errors import UserError
from recgym.settings import Count, Within, check

MOST_PATTERNS = 4096  # of which an agent values each one on every page


@dataclass(frozen=True)
class PlacementRules:
    """What an ad's place, item and repetition have to obey."""

    min_distance: Count = 3  # slots from one ad to the next; 1: they may stand side by side
    first_slot: bool = False  # whether an ad may stand at the top
    max_ads: Annotated[int, Within(0)] = 2  # of a page
    frequency_cap: Count = 3  # times that a shopper sees one campaign in a session
    excluded_categories: tuple[int, ...] = ()  # whose items are never advertised

    def __post_init__(self) -> None:
        """Raise where a rule cannot be used."""
        check("rules", vars(self), PlacementRules)


def patterns(rules: PlacementRules, num_slots: int) -> Tensor:
    """Every legal set of ad slots, [J, K] bool: the empty one first, then by number and place."""
    first = 0 if rules.first_slot else 1
    found: list[tuple[int, ...]] = []
    for count in range(rules.max_ads + 1):
        new = [
            slots
            for slots in combinations(range(first, num_slots), count)
            if all(b - a >= rules.min_distance for a, b in pairwise(slots))
        ]
        found += new
        if len(found) > MOST_PATTERNS:
            raise UserError(
                f"rules.max_ads={rules.max_ads}: over {MOST_PATTERNS} ways to place ads in "
                f"{num_slots} slots; allow fewer ads, or set rules.min_distance higher."
            )
        if not new:
            break
    place_JK = torch.zeros(len(found), num_slots, dtype=torch.bool)
    for row, slots in enumerate(found):
        place_JK[row, list(slots)] = True
    return place_JK


def legal(rules: PlacementRules, place_NK: Tensor) -> Tensor:
    """The ads of any wish that may stand, [N, K]: from the top, what breaks a rule is dropped."""
    num_slots = place_NK.shape[-1]
    count_N = torch.zeros_like(place_NK[..., 0], dtype=torch.int64)
    last_N = count_N - rules.min_distance
    kept = []
    for k in range(num_slots):
        may_N = place_NK[..., k] & (k - last_N >= rules.min_distance) & (count_N < rules.max_ads)
        if k == 0 and not rules.first_slot:
            may_N = torch.zeros_like(may_N)
        last_N = torch.where(may_N, k, last_N)
        count_N = count_N + may_N
        kept.append(may_N)
    return torch.stack(kept, -1)


def merge(organic_NK: Tensor, ad_NK: Tensor) -> Tensor:
    """Items of the page, [N, K]: ads keep their slots, the organic ranking fills the others.

    It does so in order, without the items that stand there as ads; what is left over falls off. An
    empty place of the ranking (-1) stays one, and so does one that repeats an item.

    Args:
        organic_NK: the ranking, -1 for an empty place.
        ad_NK: item of the ad in each slot, -1 where none stands; no item twice.
    """
    ad_taken_NK = ad_NK >= 0
    as_ad_NKK = (organic_NK.unsqueeze(-1) == ad_NK.unsqueeze(-2)) & ad_taken_NK.unsqueeze(-2)
    kept_NK = ~as_ad_NKK.any(-1)
    num_slots = organic_NK.shape[-1]
    same_NKK = organic_NK.unsqueeze(-1) == organic_NK.unsqueeze(-2)
    organic_NK = organic_NK.masked_fill(same_NKK.tril(-1).any(-1), -1)
    # those kept move up to the front, the others to a place past the end
    rank_NK = (kept_NK.cumsum(-1) - 1).masked_fill(~kept_NK, num_slots)
    packed_NK = torch.full_like(torch.cat([organic_NK, organic_NK[..., :1]], -1), -1)
    packed_NK = packed_NK.scatter(-1, rank_NK, organic_NK)[..., :num_slots]
    next_NK = ((~ad_taken_NK).cumsum(-1) - 1).clamp(min=0)
    return torch.where(ad_taken_NK, ad_NK, packed_NK.gather(-1, next_NK))
