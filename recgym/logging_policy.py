"""The policy that wrote the default log: a mixture drawn page by page, its propensities known."""

from __future__ import annotations

import torch
from torch import Tensor

from recgym import rng
from recgym.rng import Purpose
from recgym.types import Catalog, Observation


class LoggingPolicy:
    """Affinity to the observed history, popularity, uniform, or an empty page.

    It reads what a site can observe and nothing else, so that the response to showing is
    identified. Slates are drawn item by item without replacement (Plackett-Luce).

    Args:
        catalog: of the site; affinity is the match of its `feature` rows.
        popularity_I: weights of the items, as the site knew them before the log began, [I].
        share: of affinity, popularity, uniform and empty pages; they add up to 1.
        sharpness: of the affinity softmax, per unit of feature match.
    """

    def __init__(
        self,
        catalog: Catalog,
        popularity_I: Tensor,
        *,
        num_slots: int = 10,
        share: tuple[float, float, float, float] = (0.68, 0.25, 0.05, 0.02),
        sharpness: float = 2.0,
    ) -> None:
        if abs(sum(share) - 1.0) > 1e-6:
            raise ValueError(f"share adds up to {sum(share)}, expected 1")
        self.num_slots, self.sharpness = num_slots, sharpness
        self.feature_IE = catalog.feature
        self.share_4 = torch.tensor(share, dtype=popularity_I.dtype, device=popularity_I.device)
        self.popularity_I = popularity_I / popularity_I.sum()

    def scores(self, observation: Observation) -> Tensor:
        """Logits of the affinity part, [N, I]: popularity, tilted to the last views."""
        item_NL = observation.visit.history_item
        fading_L = 0.7 ** torch.arange(item_NL.shape[1], device=item_NL.device)
        weight_NL = (item_NL >= 0) * fading_L.to(self.feature_IE.dtype)
        weight_NL = weight_NL / weight_NL.sum(-1, keepdim=True).clamp(min=1e-9)
        taste_NE = (weight_NL.unsqueeze(-1) * self.feature_IE[item_NL.clamp(min=0)]).sum(1)
        return self.sharpness * taste_NE @ self.feature_IE.T + 0.5 * self.popularity_I.log()

    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        """Items to show, [N, K]; -1 throughout on an empty page."""
        return self.act_with_propensity(observation)[0]

    def act_with_propensity(self, observation: Observation) -> tuple[Tensor, Tensor]:
        """Items [N, K] and P(item here | the items above, what the site observed) [N, K]."""
        who, page_N = observation.arrival, observation.visit.page_number
        affinity_NI, popular_NI, uniform_NI = self._parts(observation)
        part_N = rng.pick(
            self.share_4.expand(len(page_N), 4),
            rng.uniform(
                rng.key(who.seed, who.session, page_N, Purpose.COMPONENT),
                dtype=affinity_NI.dtype,
            ),
        ).unsqueeze(-1)
        weight_NI = torch.where(
            part_N == 0, affinity_NI, torch.where(part_N == 1, popular_NI, uniform_NI)
        )
        u_NK = rng.uniform(
            rng.key(who.seed, who.session, page_N, Purpose.POLICY),
            self.num_slots,
            affinity_NI.dtype,
        )
        item_NK = draw_without_replacement(weight_NI, u_NK)
        propensity_NK = self._propensity([affinity_NI, popular_NI, uniform_NI], item_NK)
        empty_N1 = part_N == 3
        item_NK = torch.where(empty_N1, torch.full_like(item_NK, -1), item_NK)
        return item_NK, torch.where(empty_N1, self.share_4[3], propensity_NK)

    def slate_log_probs(self, observation: Observation, item_NK: Tensor) -> Tensor:
        """Log of what `act_with_propensity` gives, of any pages, [N, K].

        An empty page's probability is that of its first slot; pages are full or empty.
        """
        filled_NK = item_NK >= 0
        log_NK = self._propensity(self._parts(observation), item_NK.clamp(min=0)).log()
        empty_NK = torch.zeros_like(log_NK)
        empty_NK[:, 0] = self.share_4[3].log()
        log_NK = torch.where(filled_NK.any(-1, keepdim=True), log_NK, empty_NK)
        half_N1 = filled_NK.any(-1, keepdim=True) & ~filled_NK.all(-1, keepdim=True)
        return log_NK.masked_fill(half_N1, -torch.inf)

    def _parts(self, observation: Observation) -> list[Tensor]:
        """P(item) of a first draw by affinity, popularity and at random, [N, I] each."""
        affinity_NI = self.scores(observation).softmax(-1)
        popular_NI = self.popularity_I.expand_as(affinity_NI)
        return [
            affinity_NI,
            popular_NI,
            torch.full_like(affinity_NI, 1.0 / affinity_NI.shape[1]),
        ]

    def _propensity(self, parts: list[Tensor], item_NK: Tensor) -> Tensor:
        """Mixture over the parts, reweighted at each position by the items above."""
        chance_NKJ = torch.stack([_plackett_luce(p_NI, item_NK) for p_NI in parts], -1)
        above_NKJ = chance_NKJ.cumprod(1) / chance_NKJ
        weight_NKJ = self.share_4[:3] * above_NKJ
        first = torch.ones_like(weight_NKJ[:, :1].sum(-1))
        total_NK = torch.cat([first, weight_NKJ[:, 1:].sum(-1)], 1)
        return (weight_NKJ * chance_NKJ).sum(-1) / total_NK


def _plackett_luce(probability_NI: Tensor, item_NK: Tensor) -> Tensor:
    """P(item at each position | items above), [N, K]."""
    p_NK = probability_NI.gather(-1, item_NK)
    left_NK = 1.0 - (p_NK.cumsum(-1) - p_NK)
    return p_NK / left_NK.clamp(min=1e-9)


def draw_without_replacement(weight_NI: Tensor, u_NK: Tensor) -> Tensor:
    """K different items drawn one after another in proportion to weight, [N, K] int64.

    The sum of weights is inverted once; each further draw steps over the items already taken.
    """
    cdf_NI = weight_NI.cumsum(-1)
    total_N = cdf_NI[:, -1]
    end = weight_NI.shape[1] - 1
    taken_NK = torch.empty(u_NK.shape, dtype=torch.int64, device=u_NK.device)
    used_N = torch.zeros_like(total_N)
    for k in range(u_NK.shape[1]):
        target_N = u_NK[:, k] * (total_N - used_N)
        before_Nk = taken_NK[:, :k].sort(-1).values
        for j in range(k):  # step over what is taken, from the left
            start_N = cdf_NI.gather(-1, (before_Nk[:, j : j + 1] - 1).clamp(min=0)).squeeze(-1)
            start_N = torch.where(before_Nk[:, j] > 0, start_N, torch.zeros_like(start_N))
            width_N = weight_NI.gather(-1, before_Nk[:, j : j + 1]).squeeze(-1)
            target_N = target_N + torch.where(target_N >= start_N, width_N, 0.0)
        item_N = torch.searchsorted(cdf_NI, target_N.unsqueeze(-1), right=True).squeeze(-1)
        taken_NK[:, k] = item_N.clamp(max=end)
        used_N = used_N + weight_NI.gather(-1, taken_NK[:, k : k + 1]).squeeze(-1)
    return _mend_repeats(taken_NK, weight_NI)


def _mend_repeats(item_NK: Tensor, weight_NI: Tensor) -> Tensor:
    """Rounding may land a draw on a taken item's edge: move on to the next free item."""
    num_items = weight_NI.shape[1]
    for k in range(1, item_NK.shape[1]):
        for _ in range(k):
            hit_N = (item_NK[:, :k] == item_NK[:, k : k + 1]).any(-1)
            item_NK[:, k] = torch.where(hit_N, (item_NK[:, k] + 1) % num_items, item_NK[:, k])
    return item_NK


class EmptyPages:
    """Shows nothing: what a log without impressions is compared with."""

    def __init__(self, num_slots: int) -> None:
        self.num_slots = num_slots

    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        """Empty pages, [N, K]."""
        return torch.full_like(observation.visit.recent_item[:, : self.num_slots], -1)


class LoggedPages:
    """Pages of a log drawn at random: a stand-in for a logging policy of which nothing is known.

    Args:
        item_SK: pages of the log, -1 for an empty slot.
    """

    def __init__(self, item_SK: Tensor) -> None:
        self.item_SK = item_SK

    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        """Items [N, K] of one logged page a lane."""
        who = observation.arrival
        key_N = rng.key(who.seed, who.session, observation.visit.page_number, Purpose.POLICY)
        row_N = (rng.uniform(key_N, dtype=torch.float64) * len(self.item_SK)).long()
        return self.item_SK.to(row_N.device)[row_N]
