"""Implicit Q-learning from a log: better than what was shown, without asking what else might be.

Paper: Kostrikov, Nair and Levine 2022, "Offline reinforcement learning with implicit Q-learning":

    V: mean of L(Q'(s, A) - V(s)), L(u) = |expectile - 1(u < 0)| u^2         (equation 5)
    Q: mean of (r + gamma V(s') - Q(s, a))^2                                 (equation 6)
    policy: - mean of exp(beta (Q'(s, A) - V(s))) log pi(A | s)              (equation 7)

Q' is the target network, which follows Q slowly. No value is ever asked of a page that the log does
not hold. For slates (SlateQ; see `agents.dqn`) Q(s, A) of equations 5 and 7 is the value of the
logged page under the fitted choice model, and the action a of equation 6 is what was chosen, an
item of the page, a find or no view. Deviations: a page's advantage is the sum of its slots' own,

    P(i | s, A) A(s, i) - (V(s) - B(s, A)) / (number of filled slots),

B(s, A) being what Q(s, A) is without its items' advantages; and each slot of pi (`agents.cloning`)
is weighted with its own part alone: the other slots' factors, which hardly depend on it, would only
add noise. Advantages count in their root mean square over the slots of a batch (the authors rescale
rewards instead), so that one beta fits all shops; weights are cut at ``largest_weight``, as in
their code. Values count in middle prices.

Logged scalars: `loss` (equation 6), `value_loss` (equation 5), `q_null` (mean Q0 of finds),
`value` (mean V), `td_error` (mean absolute), `weight` (mean, of filled slots), and those of
`agents.cloning`.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from agents import slateq
from agents.cloning import Clone
from agents.distributions import Mean
from agents.off_policy import OffPolicy
from agents.outlook import LEAST, NUM_SALES, fitted, middle_price, outlook
from agents.replay import Replay
from recgym.envs.core import Transition
from recgym.settings import Count, Positive, Share
from recgym.types import Observation
from recgym.users.sequence import SequenceModel


def expectile_loss(error_N: Tensor, expectile: float) -> Tensor:
    """Equation 5, a scalar: errors above 0 count ``expectile``, those below the rest."""
    weight_N = torch.where(error_N < 0, 1.0 - expectile, expectile)
    return (weight_N * error_N.square()).mean()


def slot_advantages(gain_NK: Tensor, lift_N: Tensor, filled_NK: Tensor) -> Tensor:
    """Each slot's part of Q(s, A) - V(s), [N, K]; 0 in an empty one.

    Args:
        gain_NK: P(i | s, A) A(s, i).
        lift_N: V(s) - B(s, A).
        filled_NK: slots that hold an item, bool.
    """
    part_N = lift_N / filled_NK.sum(-1).clamp(min=1)
    return (gain_NK - part_N.unsqueeze(-1)) * filled_NK


def slot_weights(advantage_NK: Tensor, filled_NK: Tensor, beta: float) -> Tensor:
    """Equation 7, [N, K]: exp(beta · advantage), counted in its root mean square over all slots."""
    square_NK = advantage_NK.square() * filled_NK
    scale = (square_NK.sum() / filled_NK.sum().clamp(min=1)).sqrt().clamp(min=LEAST)
    return (beta * advantage_NK / scale).exp()


class IQL(OffPolicy):
    """Implicit Q-learning over slates; see the module's docstring.

    Args:
        user_model: whose embeddings, choice model and sales the values build on.
        num_features: O, of the observation.
        num_slots: K.
        views_I: views of each item in the training period, at which the policy begins.
        cart_paid: share of carted items that are paid: the first guess of a cart's worth.
        seed: of the networks and of replay.
        gamma: discount a page.
        expectile: of V; above 0.5 it leans to the better pages (their tau).
        beta: how far the policy leans to the better slots, per root mean square of advantages.
        largest_weight: of a slot.
        learning_rate: Adam's.
        batch_size: transitions of an update.
        capacity: transitions kept.
        hidden: width of the networks.
        target_rate: share of Q that enters the target at each update.
        learning_starts: transitions before the first update.
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
        cart_paid: float,
        seed: int = 0,
        gamma: Share = 0.95,
        expectile: Share = 0.7,
        beta: Positive = 1.0,
        largest_weight: Positive = 100.0,
        learning_rate: Positive = 1e-3,
        batch_size: Count = 1024,
        capacity: Count = 100_000,
        hidden: Count = 128,
        target_rate: Share = 0.01,
        learning_starts: Count = 5_000,
        updates: Count = 4,
        clip: Positive = 10.0,
    ) -> None:
        user_model = fitted(user_model, "agent=iql scores items")
        self.user_model, self.num_slots, self.gamma = user_model, num_slots, gamma
        self.expectile, self.beta, self.largest_weight = expectile, beta, largest_weight
        self.target_rate, self.clip = target_rate, clip
        vector_ID = user_model.tables.vector_ID
        device = vector_ID.device
        self.head = Mean(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = slateq.SlateQNetwork(
                num_features, vector_ID.shape[1], hidden, cart_paid, self.head
            )
            value = nn.Sequential(
                nn.Linear(num_features, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(),
                nn.Linear(hidden, 1),
            )  # fmt: skip
        self.network, self.value = network.to(device), value.to(device)
        self.target = copy.deepcopy(self.network)
        self.learned = [*self.network.parameters(), *self.value.parameters()]
        self.optimiser = torch.optim.Adam(self.learned, lr=learning_rate)
        self.policy = Clone(
            user_model, num_features, views_I,
            seed=seed, hidden=hidden, learning_rate=learning_rate, clip=clip,
        )  # fmt: skip
        self.unit = middle_price(user_model)
        kept = ("network", "target", "value", "optimiser", "policy")
        super().__init__(
            {name: getattr(self, name) for name in kept}, Replay(capacity, device),
            seed=seed, batch_size=batch_size, learning_starts=learning_starts, updates=updates,
        )  # fmt: skip

    @torch.no_grad()
    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        """Items [N, K], the likeliest first; with ``explore`` a page drawn from the policy."""
        return self.policy.network.page_of(observation, self.num_slots, explore)

    @torch.no_grad()
    def scores(self, observation: Observation) -> Tensor:
        """Logit of each item, [N, I]."""
        logit_NI: Tensor = self.policy.network(observation.feature)
        return logit_NI

    # ---- learning -------------------------------------------------------------------------------

    def _rows(self, observation: Observation, transition: Transition) -> dict[str, Tensor]:
        shown_NK = transition.outcome.page.item
        seen = outlook(self.user_model, observation)
        filled_NK, column_NK = shown_NK >= 0, shown_NK.clamp(min=0)
        index_NKF = column_NK.unsqueeze(-1).expand(-1, -1, NUM_SALES)
        return {
            "feature": observation.feature,
            **slateq.chosen(self.user_model, observation, transition.outcome.event),
            "reward": transition.reward / self.unit,
            "going_on": (~transition.terminated).to(transition.reward.dtype),
            "next_feature": transition.final_observation.feature,
            "shown": shown_NK,
            "added": seen.added.gather(-1, column_NK) * filled_NK,
            "taken": seen.taken.gather(-1, column_NK) * filled_NK,
            "shown_sold": seen.sold.gather(1, index_NKF),
            "go_on": seen.go_on,
        }

    def _update(self, rows: dict[str, Tensor], number: int = 0) -> dict[str, Tensor]:
        """One gradient step on V and Q, one on the policy."""
        value_N = self.value(rows["feature"]).squeeze(-1)
        filled_NK = rows["shown"] >= 0
        slow_N, gain_NK = self._logged_page(rows)
        value_loss = expectile_loss(slow_N + gain_NK.sum(-1) - value_N, self.expectile)
        advantage_NK = slot_advantages(gain_NK, value_N.detach() - slow_N, filled_NK)
        with torch.no_grad():
            next_N = self.value(rows["next_feature"]).squeeze(-1)
            target_N = rows["reward"] + self.gamma * rows["going_on"] * next_N
        item_N1, sold_N1F = rows["chosen"].unsqueeze(-1), rows["sold"].unsqueeze(1)
        values, gain_N1Z = self._values(self.network, rows["feature"], item_N1, sold_N1F)
        error_N = self.head.mean(slateq.of_choice(values, gain_N1Z.squeeze(1), rows)) - target_N
        loss = 0.5 * error_N.square().mean()
        self.optimiser.zero_grad(set_to_none=True)
        (loss + value_loss).backward()
        nn.utils.clip_grad_norm_(self.learned, self.clip)
        self.optimiser.step()
        with torch.no_grad():
            slateq.follow(self.target, self.network, self.target_rate)
        weight_NK = slot_weights(advantage_NK, filled_NK, self.beta).clamp(max=self.largest_weight)
        said = self.policy.fit(rows["feature"], rows["shown"], weight_NK)
        return {
            "loss": loss.detach(),
            "value_loss": value_loss.detach(),
            "q_null": values.null.detach().mean(),
            "value": value_N.detach().mean(),
            "td_error": error_N.detach().abs().mean(),
            "weight": (weight_NK * filled_NK).sum() / filled_NK.sum().clamp(min=1),
            **said,
        }

    @torch.no_grad()
    def _logged_page(self, rows: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Q'(s, A) without its items' advantages [N], and P(i | s, A) A'(s, i) of each [N, K]."""
        page_weight = self.user_model.answers.page_weight
        view_N, clicked_NK = slateq.choices(
            rows["added"], rows["taken"], rows["go_on"], page_weight
        )
        values, gain_NKZ = self._values(
            self.target, rows["feature"], rows["shown"], rows["shown_sold"]
        )
        null_N, away_N = self.head.mean(values.null), self.head.mean(values.away)
        lift_NK = view_N.unsqueeze(-1) * clicked_NK * self.head.mean(gain_NKZ)
        return torch.lerp(away_N, null_N, view_N), lift_NK

    def _values(
        self, network: nn.Module, feature_NO: Tensor, item_NJ: Tensor, sold_NJF: Tensor
    ) -> tuple[slateq.Values, Tensor]:
        """Of states, and A(s, i) of J items a lane [N, J, 1]."""
        values: slateq.Values = network(feature_NO)
        vector_ID = self.user_model.tables.vector_ID
        return values, slateq.gains(values, self.head.slope_Z, vector_ID, item_NJ, sold_NJF)
