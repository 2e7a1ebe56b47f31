"""Behaviour cloning: the policy that wrote the log, learned from its pages alone.

Papers: Pomerleau 1991, "Efficient training of artificial neural networks for autonomous
navigation"; a page is a ranking drawn from the whole catalogue without replacement
(`agents.ranking`), and the clone's logits maximise the log-likelihood of the pages that were shown:

    loss = - mean over filled slots of log P(item | items above it, state).

Logits are linear in what is known of an item, its vector and its features, and have an intercept an
item, which begins at the logarithm of its views. A logging policy that is a mixture, as the default
log's, is no ranking of this kind: its clone comes between its parts. Where it is not exploring the
clone shows the K likeliest items, and not a page drawn as the log's were. It is the yardstick of
all that learn from a log alone, and what `agents.bcq` and `agents.iql` hold on to.

Logged scalars: `nll` (the loss, nats a slot), `entropy` (of the first slot, nats).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from agents.baselines import top_k
from agents.off_policy import OffPolicy
from agents.outlook import fitted
from agents.ranking import perturbed
from agents.replay import Replay
from recgym.envs.core import Transition
from recgym.plackett_luce import NONE, slot_log_probs
from recgym.settings import Count, Positive
from recgym.types import Observation
from recgym.users.sequence import SequenceModel


class RankingNetwork(nn.Module):
    """Logits of all items in a state.

    Args:
        num_features: O, of the observation.
        known_IX: what is known of each item.
        views_I: of each item, at which the intercepts begin.
        hidden: width of the two layers.
    """

    def __init__(self, num_features: int, known_IX: Tensor, views_I: Tensor, hidden: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(num_features, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
        )
        self.taste = nn.Linear(hidden, known_IX.shape[1])
        self.intercept = nn.Parameter(views_I.to(known_IX).log1p())
        self.register_buffer("known_IX", known_IX, persistent=False)
        nn.init.zeros_(self.taste.weight)
        nn.init.zeros_(self.taste.bias)

    def forward(self, feature_NO: Tensor) -> Tensor:
        """[N, I]."""
        return self.scored(self.taste(self.body(feature_NO)), self.intercept)

    def scored(self, taste_NX: Tensor, intercept_I: Tensor) -> Tensor:
        """Logits of tastes for what is known of the items, [N, I]."""
        assert isinstance(self.known_IX, Tensor)
        return taste_NX @ self.known_IX.T + intercept_I

    def page_of(self, observation: Observation, num_slots: int, explore: bool) -> Tensor:
        """The likeliest items, the best first, or a page drawn from the policy, [N, K]."""
        score_NI = self(observation.feature).masked_fill(~observation.eligible, -torch.inf)
        if explore:
            score_NI = perturbed(observation, score_NI)
        return top_k(score_NI, observation.eligible, num_slots)


def known_items(user_model: SequenceModel) -> Tensor:
    """Vectors and features of the items, each standardised, [I, X]."""
    known_IX = torch.cat([user_model.tables.vector_ID, user_model.catalog.feature], -1)
    return (known_IX - known_IX.mean(0)) / known_IX.std(0).clamp(min=1e-6)


class Clone:
    """A ranking policy that is fitted to pages, each slot with a weight of its own.

    Args:
        user_model: whose item vectors the logits build on.
        num_features: O, of the observation.
        views_I: views of each item.
        seed: of the network.
        hidden: its width.
        learning_rate: Adam's.
        clip: largest norm of a gradient.
    """

    def __init__(
        self,
        user_model: SequenceModel,
        num_features: int,
        views_I: Tensor,
        *,
        seed: int,
        hidden: int,
        learning_rate: float,
        clip: float,
    ) -> None:
        known_IX = known_items(user_model)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = RankingNetwork(num_features, known_IX.cpu(), views_I.cpu(), hidden)
        self.network, self.clip = network.to(known_IX.device), clip
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=learning_rate)

    def logits(self, observation: Observation) -> Tensor:
        """Of all items, [N, I]; -inf for those that may not be shown."""
        logit_NI: Tensor = self.network(observation.feature)
        return logit_NI.masked_fill(~observation.eligible, -torch.inf)

    def fit(
        self, feature_NO: Tensor, shown_NK: Tensor, weight_NK: Tensor | None = None
    ) -> dict[str, Tensor]:
        """One gradient step towards these pages, -1 in them being an empty slot."""
        logit_NI = self.network(feature_NO)
        filled_NK = (shown_NK >= 0).to(logit_NI)
        weight_NK = filled_NK if weight_NK is None else weight_NK * filled_NK
        each_NK = -slot_log_probs(logit_NI, shown_NK)
        loss = (weight_NK * each_NK).sum() / filled_NK.sum().clamp(min=1.0)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        self.optimiser.step()
        with torch.no_grad():
            log_share_NI = logit_NI.log_softmax(-1)
            return {
                "nll": each_NK.sum() / filled_NK.sum().clamp(min=1.0),
                "entropy": -(log_share_NI.exp() * log_share_NI.clamp(min=NONE)).sum(-1).mean(),
            }

    def state_dict(self) -> dict[str, Any]:
        """The network and its optimiser."""
        return {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on as the clone whose state this is."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])


class Cloning(OffPolicy):
    """Behaviour cloning; see the module's docstring.

    Args:
        user_model: whose item vectors the logits build on.
        num_features: O, of the observation.
        num_slots: K.
        views_I: views of each item in the training period.
        seed: of the network and of replay.
        learning_rate: Adam's.
        batch_size: pages of an update.
        capacity: pages kept.
        hidden: width of the network.
        learning_starts: pages before the first update.
        updates: gradient steps for each step of all lanes.
        clip: largest norm of a gradient.
    """

    from_log = True

    def __init__(
        self,
        *,
        user_model: SequenceModel | None,
        num_features: int,
        num_slots: int,
        views_I: Tensor,
        seed: int = 0,
        learning_rate: Positive = 1e-3,
        batch_size: Count = 1024,
        capacity: Count = 100_000,
        hidden: Count = 128,
        learning_starts: Count = 5_000,
        updates: Count = 4,
        clip: Positive = 10.0,
    ) -> None:
        user_model = fitted(user_model, "agent=cloning reads shoppers")
        self.num_slots = num_slots
        self.clone = Clone(
            user_model, num_features, views_I,
            seed=seed, hidden=hidden, learning_rate=learning_rate, clip=clip,
        )  # fmt: skip
        super().__init__(
            {"network": self.clone.network, "optimiser": self.clone.optimiser},
            Replay(capacity, user_model.tables.vector_ID.device),
            seed=seed, batch_size=batch_size, learning_starts=learning_starts, updates=updates,
        )  # fmt: skip

    @torch.no_grad()
    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        """Items [N, K], the likeliest first; with ``explore`` a page drawn from the clone."""
        return self.clone.network.page_of(observation, self.num_slots, explore)

    @torch.no_grad()
    def scores(self, observation: Observation) -> Tensor:
        """Logit of each item, [N, I]."""
        logit_NI: Tensor = self.clone.network(observation.feature)
        return logit_NI

    def _rows(self, observation: Observation, transition: Transition) -> dict[str, Tensor]:
        return {"feature": observation.feature, "shown": transition.outcome.page.item}

    def _update(self, rows: dict[str, Tensor], number: int = 0) -> dict[str, Tensor]:
        return self.clone.fit(rows["feature"], rows["shown"])
