"""Top-K REINFORCE from a log: clicks that paid, corrected for who chose the pages.

Paper: Chen et al. 2019, "Top-K off-policy correction for a REINFORCE recommender system". Over the
items a that were clicked, R being the money of the page and, discounted, of what followed, the
policy climbs

    mean of  min(pi(a | s) / beta(a | s), c)  lambda_K(a)  R  grad log pi(a | s),
    lambda_K(a) = K (1 - pi(a | s))^(K - 1)                                   (equation 8),

with weights capped at c (section 4.4). The multiplier is the chance that K draws hold the item, by
its slope: an item that is on nearly every page anyway gains nothing more, so that mass goes to the
K best and not to the best alone. pi is a softmax over the catalogue. beta, the policy that wrote
the log, is a second softmax on the same state, fitted to all items that were shown, whose gradient
does not reach the state (section 4.2); items that were not clicked teach beta alone. Where the log
records propensities they stand in place of beta.

Deviations: pages are rankings without replacement (`agents.ranking`), and so the weight of an item
is that of drawing it after those above it, under pi and beta alike; states are the user model's,
with two layers of their own; returns run over at most ``horizon`` pages; both softmaxes are linear
in what is known of an item and begin at the logarithm of its views, as in `agents.cloning`; money
counts in middle prices. Not exploring, the K likeliest items are shown.

Logged scalars, means over clicked slots: `loss` (of the policy), `weight` (capped), `capped` (share
of them at the cap), `multiplier` (lambda_K), `return` (middle prices); and `nll` (of beta, nats a
slot), `entropy` (of the first slot under pi, nats).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from agents.cloning import RankingNetwork, known_items
from agents.off_policy import OffPolicy
from agents.outlook import fitted, middle_price
from agents.replay import Replay
from agents.returns import NStep
from recgym.envs.core import Transition
from recgym.plackett_luce import slot_log_probs
from recgym.settings import Count, Positive, Share
from recgym.types import Observation
from recgym.users.sequence import SequenceModel


class TwoHeads(RankingNetwork):
    """Logits of the policy and of the one that wrote the log, on one state.

    Args:
        num_features, known_IX, views_I, hidden: as of `RankingNetwork`.
    """

    def __init__(self, num_features: int, known_IX: Tensor, views_I: Tensor, hidden: int) -> None:
        super().__init__(num_features, known_IX, views_I, hidden)
        self.logging_taste = nn.Linear(hidden, known_IX.shape[1])
        self.logging_intercept = nn.Parameter(self.intercept.detach().clone())
        nn.init.zeros_(self.logging_taste.weight)
        nn.init.zeros_(self.logging_taste.bias)

    def both(self, feature_NO: Tensor) -> tuple[Tensor, Tensor]:
        """Of pi and of beta, [N, I] each; the second leaves the state as it is."""
        body_NH = self.body(feature_NO)
        return (
            self.scored(self.taste(body_NH), self.intercept),
            self.scored(self.logging_taste(body_NH.detach()), self.logging_intercept),
        )


def capped_weights(log_pi_NK: Tensor, log_beta_NK: Tensor, cap: float) -> Tensor:
    """Importance of each slot, [N, K]: min(pi / beta, cap)."""
    return (log_pi_NK - log_beta_NK).exp().clamp(max=cap)


def multiplier(pi_X: Tensor, num_slots: int) -> Tensor:
    """Equation 8: the slope, by its chance of one draw, of being among K draws, [..]."""
    return num_slots * (1.0 - pi_X) ** (num_slots - 1)


class TopKReinforce(OffPolicy):
    """Top-K off-policy REINFORCE; see the module's docstring.

    Args:
        user_model: whose item vectors the logits build on.
        num_features: O, of the observation.
        num_slots: K.
        views_I: views of each item in the training period.
        seed: of the network and of replay.
        gamma: discount a page.
        horizon: pages of a return.
        cap: largest importance weight (their c, e^3 as in their section 6).
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
        gamma: Share = 0.95,
        horizon: Count = 20,
        cap: Positive = 20.0,
        learning_rate: Positive = 1e-3,
        batch_size: Count = 1024,
        capacity: Count = 100_000,
        hidden: Count = 128,
        learning_starts: Count = 5_000,
        updates: Count = 4,
        clip: Positive = 10.0,
    ) -> None:
        user_model = fitted(user_model, "agent=topk_reinforce reads shoppers")
        self.num_slots, self.cap, self.clip = num_slots, cap, clip
        known_IX = known_items(user_model)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = TwoHeads(num_features, known_IX.cpu(), views_I.cpu(), hidden)
        self.network = network.to(known_IX.device)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=learning_rate)
        self.returns = NStep(horizon, gamma)
        self.unit = middle_price(user_model)
        super().__init__(
            {"network": self.network, "optimiser": self.optimiser},
            Replay(capacity, known_IX.device),
            seed=seed, batch_size=batch_size, learning_starts=learning_starts, updates=updates,
        )  # fmt: skip

    @torch.no_grad()
    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        """Items [N, K], the likeliest first; with ``explore`` a page drawn from the policy."""
        return self.network.page_of(observation, self.num_slots, explore)

    @torch.no_grad()
    def scores(self, observation: Observation) -> Tensor:
        """Logit of each item, [N, I]."""
        logit_NI: Tensor = self.network(observation.feature)
        return logit_NI

    # ---- learning -------------------------------------------------------------------------------

    def _rows(self, observation: Observation, transition: Transition) -> dict[str, Tensor] | None:
        """The first of the last pages, once the return that followed it is known."""
        shown_NK, chance_NK = transition.outcome.page.item, transition.propensity
        if chance_NK is None:
            chance_NK = torch.full(shown_NK.shape, torch.nan, device=shown_NK.device)
        first = {
            "feature": observation.feature,
            "shown": shown_NK,
            "slot": transition.outcome.event.slot,
            "propensity": chance_NK,
        }
        end = {
            "reward": transition.reward / self.unit,
            "terminated": transition.terminated,
            "over": transition.terminated | transition.truncated,
        }
        return self.returns.push({"first": first, "last": {}, "end": end})

    def _update(self, rows: dict[str, Tensor], number: int = 0) -> dict[str, Tensor]:
        """One gradient step on the policy and on the estimate of the log's own."""
        shown_NK = rows["shown"]
        logit_NI, logging_NI = self.network.both(rows["feature"])
        filled_NK = (shown_NK >= 0).to(logit_NI)
        log_beta_NK = slot_log_probs(logging_NI, shown_NK)
        nll = -log_beta_NK.sum() / filled_NK.sum().clamp(min=1.0)
        log_share_NI = logit_NI.log_softmax(-1)
        log_share_NK = log_share_NI.gather(-1, shown_NK.clamp(min=0))
        slot_K = torch.arange(shown_NK.shape[1], device=shown_NK.device)
        clicked_NK = filled_NK * (rows["slot"].unsqueeze(-1) == slot_K)
        with torch.no_grad():
            chance_NK = rows["propensity"]
            log_beta_NK = torch.where(chance_NK.isnan(), log_beta_NK, chance_NK.log())
            log_pi_NK = slot_log_probs(logit_NI, shown_NK)
            weight_NK = capped_weights(log_pi_NK, log_beta_NK, self.cap)
            multiplier_NK = multiplier(log_share_NK.exp(), self.num_slots)
            gain_NK = clicked_NK * weight_NK * multiplier_NK * rows["reward"].unsqueeze(-1)
        loss = -(gain_NK * log_share_NK).mean(0).sum()
        self.optimiser.zero_grad(set_to_none=True)
        (loss + nll).backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        self.optimiser.step()

        def over_clicks(each_NK: Tensor) -> Tensor:
            return (clicked_NK * each_NK).sum() / clicked_NK.sum().clamp(min=1.0)

        with torch.no_grad():
            return {
                "loss": loss.detach(),
                "weight": over_clicks(weight_NK),
                "capped": over_clicks((weight_NK >= self.cap).to(weight_NK)),
                "multiplier": over_clicks(multiplier_NK),
                "return": over_clicks(rows["reward"].unsqueeze(-1).expand_as(weight_NK)),
                "nll": nll.detach(),
                "entropy": -(log_share_NI.exp() * log_share_NI).sum(-1).mean(),
            }

    # ---- keeping --------------------------------------------------------------------------------

    def state_dict(self, *, learning: bool = False) -> dict[str, Any]:
        """With ``learning`` the pages that wait for their return too."""
        waiting = {"returns": self.returns.state_dict()} if learning else {}
        return super().state_dict(learning=learning) | waiting

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Act and learn on from a saved state."""
        super().load_state_dict(state)
        if "returns" in state:
            self.returns.load_state_dict(state["returns"])
