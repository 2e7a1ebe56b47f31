"""Candidate re-ranking for large catalogues: retrieve M items by a cheap rule, then choose by DQN.

Paper: Covington, Adams and Sargin 2016, "Deep neural networks for YouTube recommendations", section
2: candidate generation, then ranking. Here the fitted user model retrieves the M items that it
expects to bring most if shown alone, and the slate is the best of these by the values of
`agents.dqn`, whose switches all hold. `agents.ppo` and the bandits choose among the same M items by
a policy of their own. What a step keeps of the catalogue is M columns a lane; retrieval itself
looks at all items, some lanes after others (see `agents.outlook.in_parts`), so that memory is
bounded for any catalogue.

Deviations: those of `agents.dqn`; the ranker's values begin at what the user model expects an item
to sell, so that both stages know the same at first. Slots that are filled at random to explore are
filled from the whole catalogue: what a click brings is learned for items that are not retrieved
too, yet these are never chosen.

Logged scalars: those of `agents.dqn`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from agents import slateq
from agents.baselines import spread, top_k
from agents.dqn import DQN
from agents.outlook import Outlook, Retriever
from recgym.settings import Count
from recgym.types import Observation
from recgym.users.sequence import SequenceModel


class Reranking(DQN):
    """DQN among retrieved items; see the module's docstring.

    Args:
        user_model, num_slots, cart_paid: as of `agents.dqn.DQN`, and of the retrieval alike.
        num_retrieved: M, items retrieved on each page.
        settings: the others of `agents.dqn.DQN`.
    """

    name = "reranking"

    def __init__(
        self,
        *,
        user_model: SequenceModel | None,
        num_slots: int,
        cart_paid: float,
        num_retrieved: Count = 64,
        **settings: Any,
    ) -> None:
        super().__init__(
            user_model=user_model, num_slots=num_slots, cart_paid=cart_paid, **settings
        )
        num_retrieved = min(max(num_retrieved, num_slots), self.user_model.catalog.num_items)
        self.num_candidates = min(self.num_candidates, num_retrieved)
        self.looks_at = num_retrieved
        self.retriever = Retriever(self.user_model, cart_paid, num_retrieved)

    def compile(self) -> None:
        """Retrieve by `recgym.compiling`; the rest is of few items."""
        self.retriever.compile()

    def _retrieved(self, observation: Observation) -> tuple[Tensor, Outlook]:
        """M items, -1 where fewer may be shown, [N, M]; and what the user model says of them."""
        found = self.retriever(observation)
        return found.item, found.seen

    @torch.no_grad()
    def scores(self, observation: Observation) -> Tensor:
        """Of each item, [N, I]; -inf for one that is not retrieved."""
        item_NM, seen = self._retrieved(observation)
        score_NM = self._score(observation, item_NM, seen)
        return spread(item_NM, score_NM, observation.catalog.num_items)

    def _page(self, observation: Observation, explore: bool) -> Tensor:
        item_NM, seen = self._retrieved(observation)
        score_NM = self._score(observation, item_NM, seen, explore)
        column_NK = top_k(score_NM, item_NM >= 0, self.num_slots)
        return item_NM.gather(-1, column_NK.clamp(min=0)).masked_fill(column_NK < 0, -1)

    def _candidates(self, observation: Observation) -> dict[str, Tensor]:
        item_NM, seen = self._retrieved(observation)
        score_NM = self._score(observation, item_NM, seen)
        found = slateq.candidates(seen, score_NM, self.num_candidates)
        return {**found, "candidate": item_NM.gather(-1, found["candidate"])}

    def _score(
        self, observation: Observation, item_NM: Tensor, seen: Outlook, explore: bool = False
    ) -> Tensor:
        added_NM = seen.added * (item_NM >= 0)
        values = self._values(observation, explore)
        return self._among(values, item_NM, added_NM, seen.sold, seen.go_on)
