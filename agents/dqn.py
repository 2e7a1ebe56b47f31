"""Double DQN for slates: item-wise values, joined by the choice model (SlateQ).

Papers: van Hasselt, Guez and Silver 2016, "Deep reinforcement learning with double Q-learning",
equation 4; Ie et al. 2019, "SlateQ", equations 14 to 16: Q(s, A) = sum over i in A of
P(i | s, A) Q(s, i), plus the value of everything else. Deviations: the "everything else" (found
alone, checkout, leave) has a learned value Q0(s) where SlateQ takes 0; the choice model is the
fitted user model's nested logit; item values are Q0(s) + A(s, i) with an advantage linear in the
item's embedding and in what the user model expects it to sell; the next slate is sought among the
``num_candidates`` items that score best when the transition is stored. The slate is the best full
one of `agents.slates` for the mass that items *add* to what would be found anyway.

Logged scalars: `loss` (Huber, in reward units), `q_null` (mean Q0), `advantage` (mean of Q - Q0
over clicked items), `td_error` (mean absolute), `epsilon` (share of slots filled at random).
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from agents import slates
from agents.baselines import top_k
from agents.exploring import falling, some_at_random
from agents.outlook import NUM_SALES, Outlook, middle_price, outlook, sold_if_clicked
from agents.replay import Replay
from recgym.envs.core import Transition
from recgym.errors import UserError
from recgym.settings import Count, Positive, Share
from recgym.types import Observation
from recgym.users.lstm import LSTMUserModel


class SlateQNetwork(nn.Module):
    """Q0(s) and A(s, i); linear in the item's features, so that a catalogue is one product.

    Args:
        num_features: O, of the observation.
        embedding: of an item.
        hidden: width of the two layers.
        cart_paid: what money in the cart is worth, as a first guess.
    """

    def __init__(self, num_features: int, embedding: int, hidden: int, cart_paid: float) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(num_features, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
        )
        self.null = nn.Linear(hidden, 1)
        self.taste = nn.Linear(hidden, embedding)
        self.sales = nn.Linear(hidden, NUM_SALES + 1)
        for layer in (self.taste, self.sales):  # begin at "an item is worth what it sells"
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        with torch.no_grad():
            self.sales.bias[0], self.sales.bias[1] = 1.0, cart_paid

    def forward(self, feature_NO: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Q0 [N], weights on item embeddings [N, D] and on sales features [N, NUM_SALES + 1]."""
        body_NH = self.body(feature_NO)
        return self.null(body_NH).squeeze(-1), self.taste(body_NH), self.sales(body_NH)


def advantage(taste_ND: Tensor, sales_NF: Tensor, vector_NJD: Tensor, sold_NJF: Tensor) -> Tensor:
    """A(s, i) of J items a lane, [N, J]."""
    like_NJ = torch.bmm(vector_NJD, taste_ND.unsqueeze(-1)).squeeze(-1)
    worth_NJ = torch.bmm(sold_NJF, sales_NF[:, :-1].unsqueeze(-1)).squeeze(-1)
    return like_NJ + worth_NJ + sales_NF[:, -1:]


class DQN:
    """Double DQN over slates; see the module's docstring.

    Agents that learn from a log build on it: they may show fewer items (`_may_show`), keep more of
    a step (`_more`), and add to the loss (`_penalty`).

    Args:
        user_model: whose embeddings, choice model and sales the values build on.
        num_features: O, of the observation.
        num_slots: K.
        cart_paid: share of carted items that are paid: the first guess of a cart's worth.
        seed: of the network, of replay and, through the lanes' seeds, of exploration.
        gamma: discount a page.
        learning_rate: Adam's.
        batch_size: transitions of an update.
        capacity: transitions kept.
        num_candidates: items of each next state among which the next slate is sought.
        hidden: width of the network.
        target_rate: share of the online network that enters the target at each update.
        epsilon: slots filled at random, at the start and at the end of exploration.
        epsilon_steps: steps of all lanes over which exploration falls.
        learning_starts: transitions before the first update.
        updates: gradient steps for each step of all lanes.
        clip: largest norm of a gradient.
    """

    name = "dqn"
    largest_error = 1.0  # in middle prices; a larger one counts linearly

    def __init__(
        self,
        *,
        user_model: LSTMUserModel | None,
        num_features: int,
        num_slots: int,
        cart_paid: float,
        seed: int = 0,
        gamma: Share = 0.95,
        learning_rate: Positive = 1e-3,
        batch_size: Count = 1024,
        capacity: Count = 100_000,
        num_candidates: Count = 32,
        hidden: Count = 128,
        target_rate: Share = 0.01,
        epsilon: tuple[Share, Share] = (0.5, 0.05),
        epsilon_steps: Count = 400,
        learning_starts: Count = 5_000,
        updates: Count = 4,
        clip: Positive = 10.0,
    ) -> None:
        if user_model is None:
            raise UserError(
                f"agent={self.name} scores items through a fitted user model, and this shop has "
                "none: train on shop='model:DIR'."
            )
        self.user_model, self.num_slots = user_model, num_slots
        self.gamma, self.batch_size, self.target_rate = gamma, batch_size, target_rate
        self.num_candidates = min(max(num_candidates, num_slots), user_model.catalog.num_items)
        self.epsilon, self.epsilon_steps = epsilon, epsilon_steps
        self.learning_starts, self.updates, self.clip = learning_starts, updates, clip
        device = user_model.tables.vector_ID.device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = SlateQNetwork(
                num_features, user_model.tables.vector_ID.shape[1], hidden, cart_paid
            )
        self.network = network.to(device)
        self.target = copy.deepcopy(self.network)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=learning_rate)
        self.replay = Replay(capacity, device)
        self.generator = torch.Generator(device).manual_seed(seed)
        self.steps = 0
        self.unit = middle_price(user_model)

    # ---- acting ---------------------------------------------------------------------------------

    @torch.no_grad()
    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        """Items [N, K], the best first; with ``explore`` some slots hold random ones."""
        score_NI = self._scores(observation, outlook(self.user_model, observation))
        item_NK = top_k(score_NI, observation.eligible, self.num_slots)
        return some_at_random(observation, item_NK, self._epsilon()) if explore else item_NK

    def _scores(self, observation: Observation, seen: Outlook) -> Tensor:
        """Of which the best slate holds the K highest, [N, I]."""
        _, taste_ND, sales_NF = self.network(observation.feature)
        like_NI = taste_ND @ self.user_model.tables.vector_ID.T
        worth_NI: Tensor = (seen.sold * sales_NF[:, None, :-1]).sum(-1) + sales_NF[:, -1:]
        gain_NI = like_NI + worth_NI
        return slates.scores(seen.added, gain_NI, self._may_show(observation), self.num_slots)

    def _may_show(self, observation: Observation) -> Tensor:
        """Items among which slates are sought, [N, I] bool."""
        return observation.eligible

    def _epsilon(self) -> float:
        return falling(self.epsilon, self.steps, self.epsilon_steps)

    # ---- learning -------------------------------------------------------------------------------

    def learn(
        self, observation: Observation, item_NK: Tensor, transition: Transition
    ) -> dict[str, Tensor]:
        """Store one step of all lanes, then take `updates` gradient steps."""
        self._store(observation, transition)
        self.steps += 1
        metrics: dict[str, Tensor] = {}
        if self.replay.size >= self.learning_starts:
            for _ in range(self.updates):
                metrics = self._update(self.replay.sample(self.batch_size, self.generator))
        return metrics

    @torch.no_grad()
    def _store(self, observation: Observation, transition: Transition) -> None:
        event, following = transition.outcome.event, transition.final_observation
        clicked_N = event.slot >= 0
        item_N1 = event.item.clamp(min=0).unsqueeze(-1)
        sold_NF = sold_if_clicked(self.user_model, observation, item_N1)[:, 0]
        seen = outlook(self.user_model, following)
        best = self._scores(following, seen).topk(self.num_candidates, -1)
        best_NC, allowed_NC = best.indices, best.values > -torch.inf
        index_NCF = best_NC.unsqueeze(-1).expand(-1, -1, NUM_SALES)
        self.replay.add(
            {
                "feature": observation.feature,
                "chosen": torch.where(clicked_N, event.item, torch.full_like(event.item, -1)),
                "sold": sold_NF * clicked_N.unsqueeze(-1),
                "reward": transition.reward / self.unit,
                "going_on": (~transition.terminated).to(transition.reward.dtype),
                "next_feature": following.feature,
                "candidate": best_NC,
                "added": seen.added.gather(-1, best_NC) * allowed_NC,
                "taken": seen.taken.gather(-1, best_NC) * allowed_NC,
                "next_sold": seen.sold.gather(1, index_NCF),
                "go_on": seen.go_on,
                **self._more(observation, transition),
            }
        )

    def _more(self, observation: Observation, transition: Transition) -> dict[str, Tensor]:
        """What else is kept of a step, each [N, ...]."""
        return {}

    def _update(self, rows: dict[str, Tensor]) -> dict[str, Tensor]:
        """One gradient step on the TD error of the chosen item, or of everything else."""
        target_N = rows["reward"] + self.gamma * rows["going_on"] * self._next_value(rows)
        null_N, taste_ND, sales_NF = self.network(rows["feature"])
        clicked_N = rows["chosen"] >= 0
        vector_N1D = self.user_model.tables.vector_ID[rows["chosen"].clamp(min=0)].unsqueeze(1)
        gain_N = advantage(taste_ND, sales_NF, vector_N1D, rows["sold"].unsqueeze(1)).squeeze(1)
        gain_N = gain_N * clicked_N
        value_N = null_N + gain_N
        penalty, said = self._penalty(rows, taste_ND, sales_NF)
        loss = F.huber_loss(value_N, target_N, delta=self.largest_error) + penalty
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        self.optimiser.step()
        with torch.no_grad():
            pairs = zip(self.target.parameters(), self.network.parameters(), strict=True)
            for old, new in pairs:
                old.lerp_(new, self.target_rate)
        return {
            "loss": loss.detach(),
            "q_null": null_N.detach().mean(),
            "advantage": gain_N.detach().sum() / clicked_N.sum().clamp(min=1),
            "td_error": (value_N - target_N).detach().abs().mean(),
            "epsilon": torch.tensor(self._epsilon()),
            **said,
        }

    def _penalty(
        self, rows: dict[str, Tensor], taste_ND: Tensor, sales_NF: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What the loss holds beside the TD error, and scalars to log."""
        return taste_ND.new_zeros(()), {}

    @torch.no_grad()
    def _next_value(self, rows: dict[str, Tensor]) -> Tensor:
        """Double DQN: the online network picks the next slate, the target network values it."""
        vector_NCD = self.user_model.tables.vector_ID[rows["candidate"]]
        _, taste_ND, sales_NF = self.network(rows["next_feature"])
        gain_NC = advantage(taste_ND, sales_NF, vector_NCD, rows["next_sold"])
        score_NC = slates.scores(rows["added"], gain_NC, rows["added"] > 0.0, self.num_slots)
        slate_NK = score_NC.topk(min(self.num_slots, score_NC.shape[1]), -1).indices
        null_N, taste_ND, sales_NF = self.target(rows["next_feature"])
        return slates.value(
            null_N,
            advantage(taste_ND, sales_NF, vector_NCD, rows["next_sold"]),
            rows["added"],
            rows["taken"],
            rows["go_on"],
            self.user_model.answers.page_weight,
            slate_NK,
        )

    # ---- keeping --------------------------------------------------------------------------------

    def state_dict(self, *, learning: bool = False) -> dict[str, Any]:
        """The networks and the optimiser; with ``learning`` replay and its generator too."""
        state = {
            "network": self.network.state_dict(),
            "target": self.target.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "steps": self.steps,
        }
        if learning:
            state |= {"replay": self.replay.state_dict(), "generator": self.generator.get_state()}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Act and learn on from a saved state."""
        self.network.load_state_dict(state["network"])
        self.target.load_state_dict(state["target"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.steps = int(state["steps"])
        if "replay" in state:
            self.replay.load_state_dict(state["replay"])
            self.generator.set_state(state["generator"].cpu())
