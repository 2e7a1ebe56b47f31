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
from typing import Annotated, Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from agents import seeds
from agents.outlook import LEAST, Retrieved, Retriever, fitted, middle_price
from agents.ranking import Ranker, body, log_prob, page_of
from agents.returns import advantages
from recgym.compiling import compiled
from recgym.envs.core import Transition
from recgym.settings import Count, Positive, Share, Within
from recgym.types import Observation
from recgym.users.lstm import LSTMUserModel


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


def surrogate(ratio_N: Tensor, advantage_N: Tensor, clip: float | None) -> Tensor:
    """The objective of each page, to be raised (equation 7), [N]; without ``clip`` r · A."""
    if clip is None:
        return ratio_N * advantage_N
    return torch.minimum(ratio_N * advantage_N, ratio_N.clamp(1.0 - clip, 1.0 + clip) * advantage_N)


class PPO:
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

    def __init__(
        self,
        *,
        user_model: LSTMUserModel | None,
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
        self.gamma, self.smoothing, self.clip = gamma, smoothing, clip
        self.horizon, self.epochs, self.minibatches = horizon, epochs, minibatches
        self.entropy, self.value_weight, self.max_norm = entropy, value_weight, max_norm
        self.learning_rate, self.anneal_steps = learning_rate, anneal_steps
        device, embedding = user_model.tables.vector_ID.device, user_model.tables.vector_ID.shape[1]
        networks = []
        with torch.random.fork_rng(devices=[]):
            for own in range(seed, seed + num_seeds):
                torch.manual_seed(own)
                networks.append(SlatePolicy(num_features, embedding, hidden, sharpness))
        self.network, self.num_seeds = seeds.stacked(networks).to(device), num_seeds
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=learning_rate, eps=1e-5)
        self.generators = seeds.generators(seed, num_seeds, device)
        self.unit = middle_price(user_model)
        self._losses = self._loss
        self.rows: list[dict[str, Tensor]] = []  # of the horizon so far
        self.metrics: dict[str, Tensor] = {}  # of the last horizon
        self.steps = 0

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
        self._store(observation, item_NK, transition)
        self.steps += 1
        if len(self.rows) == self.horizon:
            self.metrics = self._improve(self._pages())
            self.rows = []
        return self.metrics

    def _improve(self, pages: dict[str, Tensor]) -> dict[str, Tensor]:
        """Several passes over the pages of one horizon."""
        if self.anneal_steps is not None:
            share = max(0.0, 1.0 - self.steps / self.anneal_steps)
            for group in self.optimiser.param_groups:
                group["lr"] = self.learning_rate * share
        found = []
        count, device = len(pages["old"]) // self.num_seeds, pages["old"].device
        first_S1 = (torch.arange(self.num_seeds, device=device) * count).unsqueeze(-1)
        for _ in range(self.epochs):
            order_SR = torch.stack(
                [torch.randperm(count, generator=own, device=device) for own in self.generators]
            )
            for part_SR in order_SR.chunk(self.minibatches, -1):
                index = (first_S1 + part_SR).flatten()
                found.append(self._update({name: value[index] for name, value in pages.items()}))
        return {name: torch.stack([row[name] for row in found]).mean() for name in found[0]}

    @torch.no_grad()
    def _store(self, observation: Observation, item_NK: Tensor, transition: Transition) -> None:
        found, logit_NM = self._ranked(observation)
        place_NK = found.place(item_NK)
        self.rows.append(
            {
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
        )

    def _pages(self) -> dict[str, Tensor]:
        """All pages of the horizon as rows, with standardised advantages and returns.

        Those of one seed's lanes stand together.
        """
        whole = {name: torch.stack([row[name] for row in self.rows]) for name in self.rows[0]}
        advantage_TN = advantages(
            whole["reward"], whole["value"], whole["next_value"], whole["terminated"],
            whole["truncated"], self.gamma, self.smoothing,
        )  # fmt: skip
        whole["return"] = advantage_TN + whole["value"]
        rows = {
            name: value.unflatten(1, (self.num_seeds, -1)).transpose(0, 1).flatten(1, 2)
            for name, value in {**whole, "advantage": advantage_TN}.items()
        }  # [S, pages of one seed, ...]
        advantage_SR = rows["advantage"]
        spread_S1 = advantage_SR.std(-1, keepdim=True).clamp(min=LEAST)
        rows["spread"] = spread_S1.expand_as(advantage_SR)
        rows["advantage"] = (advantage_SR - advantage_SR.mean(-1, keepdim=True)) / spread_S1
        return {name: value.flatten(0, 1) for name, value in rows.items()}

    def _update(self, rows: dict[str, Tensor]) -> dict[str, Tensor]:
        """One gradient step on a minibatch of pages."""
        loss, said = self._losses(rows)
        self.optimiser.zero_grad(set_to_none=True)
        (self.num_seeds * loss).backward()
        seeds.clip_each(self.network.parameters(), self.max_norm, self.num_seeds)
        self.optimiser.step()
        return said | {"advantage_std": rows["spread"].mean()}

    def _loss(self, rows: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """What a gradient step lowers, and scalars to log."""
        logit_RM = self._logits(rows["feature"], rows["item"], rows["sign"])
        change_R = log_prob(logit_RM, rows["place"]) - rows["old"]
        ratio_R = change_R.exp()
        policy_loss = -surrogate(ratio_R, rows["advantage"], self.clip).mean()
        value_loss = F.smooth_l1_loss(self.network.values(rows["feature"]), rows["return"])
        share_RM = logit_RM.softmax(-1)
        entropy = -(share_RM * share_RM.clamp(min=LEAST).log()).sum(-1).mean()
        loss = policy_loss + self.value_weight * value_loss - self.entropy * entropy
        outside_R = (ratio_R - 1.0).abs() > (self.clip or torch.inf)
        return loss, {
            "policy_loss": policy_loss.detach(),
            "value_loss": value_loss.detach(),
            "entropy": entropy.detach(),
            "clipped": outside_R.to(ratio_R.dtype).mean(),
            "kl": (ratio_R - 1.0 - change_R).mean().detach(),
        }

    # ---- keeping --------------------------------------------------------------------------------

    def state_dict(self, *, learning: bool = False) -> dict[str, Any]:
        """The network and the optimiser; with ``learning`` the horizon so far and the generator."""
        state: dict[str, Any] = {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "steps": self.steps,
        }
        if learning:
            state |= {"rows": self.rows, "metrics": self.metrics}
            state["generators"] = [own.get_state() for own in self.generators]
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Act and learn on from a saved state."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.steps = int(state["steps"])
        if "rows" in state:
            self.rows, self.metrics = list(state["rows"]), dict(state["metrics"])
            for own, drawing in zip(self.generators, state["generators"], strict=True):
                own.set_state(drawing.cpu())
