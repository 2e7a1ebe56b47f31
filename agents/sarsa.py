"""Tabular SARSA for slates: the table of `agents.tabular`, which learns what its own pages bring.

Papers: Rummery and Niranjan 1994, "On-line Q-learning using connectionist systems"; Sutton and
Barto 2018, "Reinforcement learning: an introduction", equation 6.7: the target r + gamma Q(s', A')
holds the page A' that the exploring policy shows next, where Q-learning holds the best one. So the
values are those of a policy that fills some slots at random, and fall as these do. Not expected
SARSA (equation 6.9): the value of a slate is a ratio of sums over its items, so that its mean over
pages with random slots has no short form, and I^K terms. Deviations: those of `agents.tabular`; A'
is drawn from the table before the update, and drawn again, by the same coins, when it is shown
after it; where a page limit cuts a session off, A' is the page that would have followed.

Logged scalars: those of `agents.tabular`.
"""

from __future__ import annotations

from torch import Tensor

from agents.tabular import TabularQ
from recgym.types import Observation


class Sarsa(TabularQ):
    """On-policy learning in the same table; see the module's docstring. Arguments as there."""

    def _next_value(self, observation: Observation) -> Tensor:
        """What the rest of the session is worth under the policy that explores, [N]."""
        item_NK = self.act(observation, explore=True)
        null_N, odds_NI, gain_NI = self._known(observation)
        # as the shop does, which shows a repeated item once and one that may not be shown never
        shown_NJ = odds_NI.new_zeros(len(item_NK), 1 + odds_NI.shape[1])
        odds_NI = odds_NI * shown_NJ.scatter(-1, item_NK + 1, 1.0)[:, 1:]
        return null_N + (odds_NI * gain_NI).sum(-1) / (1.0 + odds_NI.sum(-1))
