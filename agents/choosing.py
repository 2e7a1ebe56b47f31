"""How the DQN family chooses slates by its values of items: what acting and targets share.

An agent that chooses among fewer items than the catalogue holds says so in `_may_show`, or finds
these itself in `_page` and `_candidates`, as `agents.reranking` does.
"""

from __future__ import annotations

import torch
from torch import Tensor

from agents import slateq, slates
from agents.baselines import top_k
from agents.distributions import Head
from agents.exploring import lane_key
from agents.outlook import Outlook, in_parts, outlook
from recgym.types import Observation
from recgym.users.sequence import SequenceModel


class Chooser:
    """The best slates by a network's values; see `agents.slateq` and `agents.slates`."""

    user_model: SequenceModel
    network: slateq.SlateQNetwork
    head: Head
    vector_ID: Tensor  # of all items
    num_slots: int
    num_candidates: int
    slate_optimiser: str
    noisy: bool

    def _page(self, observation: Observation, explore: bool) -> Tensor:
        """The best slate, [N, K]; -1 where fewer items may be shown."""
        score_NI = self._scores(observation, outlook(self.user_model, observation), explore)
        return top_k(score_NI, observation.eligible, self.num_slots)

    @torch.no_grad()
    def q_values(self, observation: Observation) -> Tensor:
        """What is expected from now on where an item is clicked, in middle prices, [N, I]."""
        return in_parts(observation, self._q_values, self.user_model.catalog.num_items)

    def _q_values(self, observation: Observation) -> Tensor:
        values = self._values(observation, explore=False)
        sold = outlook(self.user_model, observation).sold
        gain_NI = slateq.all_advantages(self.head, values, self.vector_ID, sold)
        return self.head.mean(values.null).unsqueeze(-1) + gain_NI

    def _candidates(self, observation: Observation) -> dict[str, Tensor]:
        """Among which the slate of a next state is sought; see `slateq.candidates`."""
        seen = outlook(self.user_model, observation)
        return slateq.candidates(seen, self._scores(observation, seen), self.num_candidates)

    @torch.no_grad()
    def scores(self, observation: Observation) -> Tensor:
        """Of each item, [N, I]: the best slate holds the K highest; -inf for one not sought."""
        return self._scores(observation, outlook(self.user_model, observation))

    def _scores(self, observation: Observation, seen: Outlook, explore: bool = False) -> Tensor:
        """Of which the best slate holds the K highest, [N, I]."""
        values = self._values(observation, explore)
        gain_NI = slateq.all_advantages(self.head, values, self.vector_ID, seen.sold)
        pull = self._pull(values, seen.go_on)
        return self._best(seen.added, gain_NI, self._may_show(observation), pull)

    def _among(
        self,
        values: slateq.Values,
        item_NJ: Tensor,
        added_NJ: Tensor,
        sold_NJF: Tensor,
        go_on_N: Tensor,
    ) -> Tensor:
        """The same of J items a lane; -inf for one that adds nothing: it may not be shown."""
        gain_NJ = slateq.advantages(self.head, values.null, self._gains(values, item_NJ, sold_NJF))
        return self._best(added_NJ, gain_NJ, added_NJ > 0.0, self._pull(values, go_on_N))

    def _values(self, observation: Observation, explore: bool) -> slateq.Values:
        """With ``explore`` of noisy weights, where they are."""
        key_N = lane_key(observation) if explore and self.noisy else None
        values: slateq.Values = self.network(self._read(observation), key_N)
        return values

    def _read(self, observation: Observation) -> Tensor:
        """What the network reads, [N, O]."""
        return observation.feature

    def _may_show(self, observation: Observation) -> Tensor:
        """Items among which slates are sought, [N, I] bool."""
        return observation.eligible

    def _pull(self, values: slateq.Values, go_on_N: Tensor) -> slates.Pull:
        """What it is worth that a page keeps shoppers viewing."""
        stay_N = self.head.mean(values.null) - self.head.mean(values.away)
        return slates.Pull(stay_N, go_on_N, self.user_model.answers.page_weight)

    def _best(
        self, odds_NJ: Tensor, gain_NJ: Tensor, allowed_NJ: Tensor, pull: slates.Pull
    ) -> Tensor:
        count, optimiser = self.num_slots, self.slate_optimiser
        return slates.scores(odds_NJ, gain_NJ, allowed_NJ, count, optimiser, pull)

    def _gains(self, values: slateq.Values, item_NJ: Tensor, sold_NJF: Tensor) -> Tensor:
        return slateq.gains(values, self.head.slope_Z, self.vector_ID, item_NJ, sold_NJF)
