"""Batch-constrained Q-learning from a log: the best slate of what the log might have shown.

Paper: Fujimoto, Conti, Ghavamzadeh and Pineau 2019, "Benchmarking batch deep reinforcement learning
algorithms", equation 7 (discrete BCQ): the policy is the best by Q of the items i with

    G(i | s) / max over j of G(j | s) > threshold,

in acting and in the target alike, G being a clone of the policy that wrote the log. With threshold
0 it is `agents.dqn` on the log, with 1 it is `agents.cloning`. Deviations: those of `agents.dqn`;
G is the ranking policy of `agents.cloning` with a network of its own; where fewer than K items pass
the K likeliest are let through, so that a page can be filled; the candidates of a next slate passed
when the transition was stored, and must pass again whenever it is learned from; TD errors are
squared, as in `agents.cql`.

Logged scalars: those of `agents.dqn` and `agents.cloning`, and `passing` (share of the next state's
candidates that pass).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from agents.cloning import Clone
from agents.dqn import DQN
from recgym.envs.core import Transition
from recgym.settings import Count, Positive, Share
from recgym.types import Observation


def passing(logit_NI: Tensor, threshold: float, num_slots: int) -> Tensor:
    """Items likely enough, and in any case the K likeliest, [N, I] bool; -inf never passes."""
    best_NK = logit_NI.topk(min(num_slots, logit_NI.shape[1]), -1).values
    least_N1 = best_NK[:, :1] + (math.log(threshold) if threshold > 0 else -torch.inf)
    likely_NI = (logit_NI > least_N1) | (logit_NI >= best_NK[:, -1:])
    return likely_NI & (logit_NI > -torch.inf)


class BCQ(DQN):
    """Batch-constrained DQN over slates; see the module's docstring.

    Args:
        views_I: views of each item in the training period, at which the clone begins.
        num_features, seed, hidden, learning_rate: as of `agents.dqn.DQN`, and of the clone alike.
        threshold: of an item's probability, relative to the likeliest item's (their tau).
        settings: the others of `agents.dqn.DQN`.
    """

    name = "bcq"
    from_log = True
    largest_error = 1e3

    def __init__(
        self,
        *,
        views_I: Tensor,
        num_features: int,
        seed: int = 0,
        hidden: Count = 128,
        learning_rate: Positive = 1e-3,
        threshold: Share = 0.02,
        **settings: Any,
    ) -> None:
        network: dict[str, Any] = {"seed": seed, "hidden": hidden, "learning_rate": learning_rate}
        super().__init__(num_features=num_features, **network, **settings)
        self.threshold = threshold
        self.clone = Clone(self.user_model, num_features, views_I, **network, clip=self.clip)
        self.kept["clone"] = self.clone

    @torch.no_grad()
    def _may_show(self, observation: Observation) -> Tensor:
        return passing(self.clone.logits(observation), self.threshold, self.num_slots)

    def _more(self, observation: Observation, transition: Transition) -> dict[str, Tensor]:
        return {"shown": transition.outcome.page.item}

    def _update(self, rows: dict[str, Tensor], number: int = 0) -> dict[str, Tensor]:
        """A step of the clone, then one of Q, whose next slate is what the clone now lets pass."""
        said = self.clone.fit(rows["feature"], rows["shown"])
        with torch.no_grad():
            logit_NI = self.clone.network(rows["next_feature"])
            passing_NI = passing(logit_NI, self.threshold, self.num_slots)
            passing_NC = passing_NI.gather(-1, rows["candidate"])
        allowed = {name: rows[name] * passing_NC for name in ("added", "taken")}
        share = passing_NC.to(torch.float32).mean()
        return {**super()._update(rows | allowed, number), **said, "passing": share}
