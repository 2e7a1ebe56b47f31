"""Soft actor-critic over slates: rankings that are as random as their worth allows.

Papers: Christodoulou 2019, "Soft actor-critic for discrete action settings", with its soft value,
temperature loss and policy loss (equations 10 to 12); Haarnoja et al. 2018, "Soft actor-critic
algorithms and applications" (temperature alpha held to a target entropy, two critics whose smaller
value counts). Discrete actions are those of one choice, and a page holds K items. A page is a
ranking drawn without replacement (`agents.ranking`) from pi(. | s), a softmax over M retrieved
items. Let A_i be item i followed by K - 1 of the others, drawn as pi ranks these: the page, given
that item i leads it. Then the mean over pages is exactly one over first slots,

    E over pages of Q(s, A) = E over draws of sum over i of pi(i | s) Q(s, A_i),

and the losses keep their discrete form, one draw a row serving all i:

    V(s)     = sum over i of pi(i | s) (min over j = 1, 2 of Q'_j(s, A_i) - alpha log pi(i | s))
    critic j : mean of (r + gamma V(s') - Q_j(s, a))^2 / 2
    policy   : mean of sum over i of pi(i | s) (alpha log pi(i | s) - min over j of Q_j(s, A_i))
    alpha    : mean of alpha (entropy of pi(. | s) - target entropy)

Q'_j are target networks, which follow at each update by a share. Q(s, A) is the value of a slate
under the fitted choice model and the action a what was chosen, an item of the page, a find or no
view (SlateQ, see `agents.slateq`). Where A holds the K best items every one of them leads it as
well as any other, so that the best pi spreads over K items: the target entropy is log K plus a
share ``target_entropy`` of log M - log K, with the number of items that may be shown in place of M.

Deviations: how the others of a page hang on pi is not followed by the policy's gradient, which so
lifts an item for what it adds to a page beside them; the policy weighs items by the mass that they
*add* to what would be found anyway, as `agents.dqn` does, values by all their clicks; what is
learned of alpha is its logarithm, which the loss has in its place (as in the code of Haarnoja et
al.: steps do not fade with alpha), at a rate of its own; logits begin at the retrieval's ranking,
as in `agents.ppo`; values count in middle prices. Not exploring, the K items of highest logit are
shown.

Logged scalars: `loss` (of both critics), `td_error` (mean absolute, of the first), `q_null` (its
mean Q0), `policy_loss`, `entropy` (nats, of the first slot), `temperature` (alpha).
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from agents import slateq
from agents.baselines import spread
from agents.distributions import Mean
from agents.off_policy import OffPolicy
from agents.outlook import NUM_SALES, Retriever, fitted, middle_price
from agents.ranking import Ranker, body, page_of
from agents.replay import Replay
from recgym.envs.core import Transition
from recgym.plackett_luce import NONE, gumbel
from recgym.settings import Count, Positive, Share
from recgym.types import Observation
from recgym.users.sequence import SequenceModel

KEPT = ("network", "target", "policy", "temperature", "optimiser")


def soft_value(log_pi_NM: Tensor, value_NM: Tensor, temperature: Tensor) -> Tensor:
    """Mean of Q(s, A_i) - alpha log pi(i) over pi, [N] (equation 10)."""
    pi_NM = log_pi_NM.exp()
    each_NM = value_NM - temperature * log_pi_NM.masked_fill(pi_NM == 0.0, 0.0)
    return (pi_NM * each_NM).sum(-1)


def entropy(log_pi_NM: Tensor) -> Tensor:
    """Nats, [N]."""
    return soft_value(log_pi_NM, torch.zeros_like(log_pi_NM), torch.ones_like(log_pi_NM[0, 0]))


def log_softmax(logit_NM: Tensor) -> Tensor:
    """Finite for items that may not be shown: where none may, an infinite one would make it NaN."""
    return logit_NM.clamp(min=NONE).log_softmax(-1)


class Temperature(nn.Module):
    """The weight alpha of the entropy, by its logarithm: it never turns negative."""

    def __init__(self, first: float) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor(first).log())

    def forward(self) -> Tensor:
        """A scalar."""
        return self.log.exp()

    def loss(self, entropy_N: Tensor, target_N: Tensor) -> Tensor:
        """Equation 11: it falls where the policy is more random than was asked, else rises."""
        return self.log * (entropy_N - target_N).mean()


class SAC(OffPolicy):
    """Soft actor-critic over slates; see the module's docstring.

    Args:
        user_model: whose embeddings, choice model and sales the retrieval and the values build on.
        num_features: O, of the observation.
        num_slots: K.
        cart_paid: share of carted items that are paid: for the retrieval, and the first guess of a
            cart's worth.
        seed: of the networks, of replay and, through the lanes' seeds, of exploration.
        gamma: discount a page.
        target_entropy: share of the way from log K to log M.
        temperature: alpha at first, in middle prices a nat; ``temperature_rate`` is Adam's for it.
        learning_rate: Adam's, of policy and critics.
        batch_size: transitions of an update.
        capacity: transitions kept.
        num_candidates: M, items retrieved.
        sharpness: of the first policy around the retrieval's ranking.
        hidden: width of the networks.
        target_rate: share of the critics that enters the targets at each update.
        learning_starts: transitions before the first update.
        updates: gradient steps for each step of all lanes.
        clip: largest norm of a gradient, of the policy's and of the critics'.
    """

    def __init__(
        self,
        *,
        user_model: SequenceModel | None,
        num_features: int,
        num_slots: int,
        cart_paid: float,
        seed: int = 0,
        gamma: Share = 0.95,
        target_entropy: Share = 0.3,
        temperature: Positive = 0.1,
        temperature_rate: Positive = 1e-2,
        learning_rate: Positive = 1e-3,
        batch_size: Count = 1024,
        capacity: Count = 100_000,
        num_candidates: Count = 32,
        sharpness: Positive = 3.0,
        hidden: Count = 128,
        target_rate: Share = 0.01,
        learning_starts: Count = 5_000,
        updates: Count = 4,
        clip: Positive = 10.0,
    ) -> None:
        user_model = fitted(user_model, "agent=sac retrieves items")
        self.user_model, self.num_slots = user_model, num_slots
        self.retrieved = Retriever(user_model, cart_paid, max(num_candidates, num_slots))
        self.gamma, self.target_entropy = gamma, target_entropy
        self.target_rate, self.clip = target_rate, clip
        self.vector_ID = user_model.tables.vector_ID
        device, embedding = self.vector_ID.device, self.vector_ID.shape[1]
        self.head = Mean(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            critics = nn.ModuleList(
                slateq.SlateQNetwork(num_features, embedding, hidden, cart_paid, self.head)
                for _ in range(2)
            )
            policy = Ranker(body(num_features, hidden), hidden, embedding, sharpness)
        self.network, self.policy = critics.to(device), policy.to(device)
        self.target = copy.deepcopy(self.network)
        self.temperature = Temperature(temperature).to(device)
        groups: list[dict[str, Any]] = [
            {"params": [*self.network.parameters(), *self.policy.parameters()]},
            {"params": self.temperature.parameters(), "lr": temperature_rate},
        ]
        self.optimiser = torch.optim.Adam(groups, lr=learning_rate)
        self.unit = middle_price(user_model)
        super().__init__(
            {name: getattr(self, name) for name in KEPT}, Replay(capacity, device),
            seed=seed, batch_size=batch_size, learning_starts=learning_starts, updates=updates,
        )  # fmt: skip

    # ---- acting ---------------------------------------------------------------------------------

    @torch.no_grad()
    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        """Items [N, K], the best first; with ``explore`` drawn as the policy is learned."""
        logit_NM = self._logits(self._seen(observation))
        return page_of(observation, self.retrieved(observation), logit_NM, self.num_slots, explore)

    @torch.no_grad()
    def scores(self, observation: Observation) -> Tensor:
        """Logit of each item, [N, I]; -inf for one that is not retrieved."""
        seen = self._seen(observation)
        return spread(seen["item"], self._logits(seen), observation.catalog.num_items)

    def _seen(self, observation: Observation) -> dict[str, Tensor]:
        """What replay keeps of a state; items that may not be shown take no clicks."""
        found = self.retrieved(observation)
        shown_NM = found.item >= 0
        return {
            "feature": observation.feature, "item": found.item, "sign": found.sign,
            "added": found.added * shown_NM, "taken": found.taken * shown_NM, "go_on": found.go_on,
        }  # fmt: skip

    def _logits(self, seen: dict[str, Tensor]) -> Tensor:
        return self.policy.logits(seen["feature"], self.vector_ID, seen["item"], seen["sign"])

    # ---- learning -------------------------------------------------------------------------------

    def _rows(self, observation: Observation, transition: Transition) -> dict[str, Tensor]:
        after = self._seen(transition.final_observation)
        return {
            **self._seen(observation),
            **{f"next_{name}": value for name, value in after.items()},
            **slateq.chosen(self.user_model, observation, transition.outcome.event),
            "reward": transition.reward / self.unit,
            "discount": self.gamma * ~transition.terminated,
        }

    def _update(self, rows: dict[str, Tensor], number: int = 0) -> dict[str, Tensor]:
        """One gradient step on critics, policy and temperature."""
        target_N = self._target(rows)
        values = [critic(rows["feature"]) for critic in self.network]
        error_2N = torch.stack([self._chosen(each, rows) for each in values]) - target_N
        loss = 0.5 * error_2N.square().mean(1).sum()
        policy_loss, entropy_N = self._policy_loss(rows, values)
        wanted_N = self._wanted_entropy(rows["item"])
        temperature_loss = self.temperature.loss(entropy_N.detach(), wanted_N)
        self.optimiser.zero_grad(set_to_none=True)
        (loss + policy_loss + temperature_loss).backward()
        for part in (self.network, self.policy):
            nn.utils.clip_grad_norm_(part.parameters(), self.clip)
        self.optimiser.step()
        with torch.no_grad():
            slateq.follow(self.target, self.network, self.target_rate)
            return {
                "loss": loss.detach(),
                "td_error": error_2N[0].abs().mean(),
                "q_null": values[0].null.mean(),
                "policy_loss": policy_loss.detach(),
                "entropy": entropy_N.mean(),
                "temperature": self.temperature(),
            }

    @torch.no_grad()
    def _target(self, rows: dict[str, Tensor]) -> Tensor:
        """Each row's r + gamma V(s'), [N]."""
        seen = _next(rows)
        logit_NM = self._logits(seen)
        values = [critic(seen["feature"]) for critic in self.target]
        clicks_NM = seen["added"] + seen["taken"]
        value_NM = self._page_values(values, seen, clicks_NM, self._drawn(logit_NM))
        soft_N = soft_value(log_softmax(logit_NM), value_NM, self.temperature())
        return rows["reward"] + rows["discount"] * soft_N

    def _policy_loss(
        self, rows: dict[str, Tensor], values: list[slateq.Values]
    ) -> tuple[Tensor, Tensor]:
        """Equation 12, and the entropy of each row [N]."""
        logit_NM = self._logits(rows)
        log_pi_NM = log_softmax(logit_NM)
        with torch.no_grad():
            drawn_NK = self._drawn(logit_NM)
            value_NM = self._page_values(values, rows, rows["added"], drawn_NK)
            # whatever all of a row's pages are worth changes nothing but the size of the loss
            value_NM = value_NM - value_NM.mean(-1, keepdim=True)
            temperature = self.temperature()
        return -soft_value(log_pi_NM, value_NM, temperature).mean(), entropy(log_pi_NM)

    def _drawn(self, logit_NM: Tensor) -> Tensor:
        """Columns of a page drawn from the policy, [N, K]."""
        u_NM = torch.rand(logit_NM.shape, generator=self.generators[0], device=logit_NM.device)
        return (logit_NM + gumbel(u_NM)).topk(self.num_slots, -1).indices

    def _page_values(
        self,
        values: list[slateq.Values],
        seen: dict[str, Tensor],
        clicks_NM: Tensor,
        drawn_NK: Tensor,
    ) -> Tensor:
        """The smaller of both critics' Q(s, A_i), [N, M]; see `slateq.led_by_each`."""
        item_NM, sold_NMF = seen["item"], seen["sign"][..., -NUM_SALES:]
        page_weight = self.user_model.answers.page_weight
        both = []
        for each in values:
            gain_NM = self._gains(each, item_NM, sold_NMF).squeeze(-1)
            view_NM, lift_NM = slateq.led_by_each(
                gain_NM, clicks_NM, seen["added"], seen["go_on"], drawn_NK, page_weight
            )
            both.append(torch.lerp(each.away, each.null + lift_NM, view_NM))
        return torch.minimum(*both)

    def _chosen(self, values: slateq.Values, rows: dict[str, Tensor]) -> Tensor:
        """Q of the clicked item, of a find or of no view, [N]."""
        gain_N11 = self._gains(values, rows["chosen"].unsqueeze(-1), rows["sold"].unsqueeze(1))
        return slateq.of_choice(values, gain_N11.squeeze(1), rows).squeeze(-1)

    def _gains(self, values: slateq.Values, item_NJ: Tensor, sold_NJF: Tensor) -> Tensor:
        return slateq.gains(values, self.head.slope_Z, self.vector_ID, item_NJ, sold_NJF)

    def _wanted_entropy(self, item_NM: Tensor) -> Tensor:
        """Of each row, nats, [N]."""
        count_N = (item_NM >= 0).sum(-1).clamp(min=1).to(self.vector_ID)
        least_N = count_N.clamp(max=self.num_slots).log()
        return least_N + self.target_entropy * (count_N.log() - least_N)


def _next(rows: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state that followed, under the names of a state."""
    return {k.removeprefix("next_"): v for k, v in rows.items() if k.startswith("next_")}
