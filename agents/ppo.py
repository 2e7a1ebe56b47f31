"""Proximal policy optimisation over slates: a learned ranking of retrieved items.

Papers: Schulman et al. 2017, "Proximal policy optimization algorithms", equations 7 (clipped
surrogate) and 9 (with value loss and entropy), with the advantages of `agents.returns`. A page is
an ordered draw without replacement among M retrieved items (`agents.ranking`), or the K of highest
logit, not exploring.

With one epoch, one minibatch and no clip this is the advantage actor-critic (Huang et al. 2022,
"A2C is a special case of PPO"; ``agent=a2c``), and with lambda = 1 too REINFORCE with a baseline
(Williams 1992; ``agent=reinforce``).

Deviations: items are retrieved by what the fitted user model expects each to bring if shown alone,
and logits begin at that ranking; the entropy is that of the first slot; rewards count in middle
prices; advantages are standardised over a whole horizon; a page limit is bootstrapped with the
value of the page that would have followed (Pardo et al. 2018, "Time limits in reinforcement
learning", equation 6).

Logged scalars, means over the last horizon's minibatches: `policy_loss`, `value_loss` (Huber, in
middle prices), `entropy` (nats), `clipped` (share of pages whose ratio left the clip range),
`kl` (estimate of the divergence from the old policy, nats), `advantage_std`.
"""

from __future__ import annotations

import copy
from typing import Annotated, Self

import torch
from torch import Tensor, nn

from agents import seeds
from agents.baselines import spread
from agents.on_policy import Horizon, OnPolicy
from agents.outlook import Retrieved, Retriever, fitted, middle_price
from agents.ranking import Ranker, body, page_of
from recgym.compiling import compiled
from recgym.envs.core import Transition
from recgym.plackett_luce import log_prob
from recgym.settings import Count, Positive, Share, Within
from recgym.types import Observation
from recgym.users.sequence import SequenceModel


class SlatePolicy(Ranker):
    """Logits of retrieved items and the value of a state, from bodies of their own.

    Args:
        num_features: O, of the observation.
        embedding: D, of an item.
        hidden: width of the layers.
        sharpness: weight of the retrieval's log-score in the logits at first.
    """

    def __init__(self, num_features: int, embedding: int, hidden: int, sharpness: float) -> None:
        actor, critic = body(num_features, hidden), body(num_features, hidden)
        super().__init__(actor, hidden, embedding, sharpness)
        self.critic, self.value = critic, nn.Linear(hidden, 1)
        nn.init.zeros_(self.value.weight)
        nn.init.zeros_(self.value.bias)

    def values(self, feature_NO: Tensor) -> Tensor:
        """V(s), in middle prices, [N]."""
        value_N: Tensor = self.value(self.critic(feature_NO)).squeeze(-1)
        return value_N


class PPO(OnPolicy):
    """Clipped policy gradients over slates; see the module's docstring.

    Args:
        user_model: whose embeddings, choice model and sales the retrieval and the logits build on.
        num_features: O, of the observation.
        num_slots: K.
        cart_paid: share of carted items that are paid, for the retrieval.
        seed: of the network, of minibatches and, through the lanes' seeds, of exploration.
        gamma: discount a page.
        smoothing: lambda of the advantages.
        clip: epsilon of the ratio's range; null for none.
        horizon: steps of all lanes between two rounds of updates.
        epochs, minibatches: passes over a horizon's pages, and into how many parts each is cut.
        entropy: weight of the entropy; ``value_weight`` that of the value loss.
        learning_rate: Adam's, which falls to 0 over ``anneal_steps`` of all lanes (null: never).
        num_candidates: M, items retrieved.
        sharpness: of the first policy around the retrieval's ranking.
        hidden: width of the network.
        max_norm: largest norm of a gradient.
        num_seeds: agents of the seeds from ``seed`` on that learn side by side; see `agents.seeds`.
    """

    network: SlatePolicy

    def __init__(
        self,
        *,
        user_model: SequenceModel | None,
        num_features: int,
        num_slots: int,
        cart_paid: float,
        seed: int = 0,
        gamma: Share = 0.95,
        smoothing: Share = 0.9,
        clip: Positive | None = 0.2,
        horizon: Count = 8,
        epochs: Count = 4,
        minibatches: Count = 4,
        entropy: Annotated[float, Within(0.0)] = 0.003,
        value_weight: Positive = 0.5,
        learning_rate: Positive = 1e-3,
        anneal_steps: Count | None = None,
        num_candidates: Count = 32,
        sharpness: Positive = 3.0,
        hidden: Count = 128,
        max_norm: Positive = 0.5,
        num_seeds: Count = 1,
    ) -> None:
        user_model = fitted(user_model, "agents of the kind of agent=ppo retrieve items")
        self.user_model, self.num_slots = user_model, num_slots
        self.retrieved = Retriever(user_model, cart_paid, max(num_candidates, num_slots))
        settings = Horizon(
            gamma=gamma, smoothing=smoothing, clip=clip, horizon=horizon, epochs=epochs,
            minibatches=minibatches, entropy=entropy, value_weight=value_weight,
            learning_rate=learning_rate, anneal_steps=anneal_steps, max_norm=max_norm,
        )  # fmt: skip
        device, embedding = user_model.tables.vector_ID.device, user_model.tables.vector_ID.shape[1]
        networks = []
        with torch.random.fork_rng(devices=[]):
            for own in range(seed, seed + num_seeds):
                torch.manual_seed(own)
                networks.append(SlatePolicy(num_features, embedding, hidden, sharpness))
        network = seeds.stacked(networks).to(device)
        super().__init__(network, settings, seed, device, num_seeds)
        self.unit = middle_price(user_model)

    def compile(self) -> None:
        """Retrieve and take losses by `recgym.compiling`."""
        self.retrieved.compile()
        self._losses = compiled(self._loss, gradients=True)

    def alone(self, seed: int) -> Self:
        """The agent of one of the seeds, to act."""
        agent = copy.copy(self)
        agent.network, agent.num_seeds = seeds.alone(self.network, seed), 1
        return agent

    # ---- acting ---------------------------------------------------------------------------------

    @torch.no_grad()
    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        """Items [N, K], the best first; with ``explore`` drawn as the policy is learned."""
        found, logit_NM = self._ranked(observation)
        return page_of(observation, found, logit_NM, self.num_slots, explore)

    @torch.no_grad()
    def scores(self, observation: Observation) -> Tensor:
        """Logit of each item, [N, I]; -inf for one that is not retrieved."""
        found, logit_NM = self._ranked(observation)
        return spread(found.item, logit_NM, observation.catalog.num_items)

    def _ranked(self, observation: Observation) -> tuple[Retrieved, Tensor]:
        """Retrieved items and their logits [N, M]."""
        found = self.retrieved(observation)
        return found, self._logits(observation.feature, found.item, found.sign)

    def _logits(self, feature_NO: Tensor, item_NM: Tensor, sign_NMS: Tensor) -> Tensor:
        vector_ID = self.user_model.tables.vector_ID
        return self.network.logits(feature_NO, vector_ID, item_NM, sign_NMS)

    # ---- learning -------------------------------------------------------------------------------

    def learn(
        self, observation: Observation, item_NK: Tensor, transition: Transition
    ) -> dict[str, Tensor]:
        """Store one step of all lanes; after a horizon of them, improve and forget them."""
        return self._take_in(self._row(observation, item_NK, transition))

    @torch.no_grad()
    def _row(
        self, observation: Observation, item_NK: Tensor, transition: Transition
    ) -> dict[str, Tensor]:
        found, logit_NM = self._ranked(observation)
        place_NK = found.place(item_NK)
        return {
            "feature": observation.feature,
            "item": found.item,
            "sign": found.sign,
            "place": place_NK,
            "old": log_prob(logit_NM, place_NK),
            "value": self.network.values(observation.feature),
            "next_value": self.network.values(transition.final_observation.feature),
            "reward": transition.reward / self.unit,
            "terminated": transition.terminated,
            "truncated": transition.truncated,
        }

    def _judged(self, rows: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Logits of the items retrieved, and the log-probability of the page [R]."""
        logit_RM = self._logits(rows["feature"], rows["item"], rows["sign"])
        return logit_RM, log_prob(logit_RM, rows["place"])
