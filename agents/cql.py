"""Conservative Q-learning from a log: items that it rarely shows are not believed to be the best.

Paper: Kumar, Zhou, Tucker and Levine 2020, "Conservative Q-learning for offline reinforcement
learning", equation 4 (CQL(H)): to the TD error of `agents.dqn` it adds

    conservatism * mean over states of (log sum over items i of exp Q(s, i)
                                        - mean over the items shown of Q(s, i)),

with Q(s, i) = Q0(s) + A(s, i), so that Q0 cancels. Deviations: those of `agents.dqn`; the sum over
a large catalogue is estimated from ``num_candidates`` items drawn anew in each state, each standing
for I / ``num_candidates`` of them (their appendix F does so for continuous actions); values count
in middle prices, and so does the term; a page without items has no term; TD errors are squared,
since Huber's error would pull down the mean of rare payments.

Logged scalars: those of `agents.dqn`, and `conservative` (the term without its weight).
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import torch
from torch import Tensor

from agents import slateq
from agents.dqn import DQN
from agents.exploring import lane_key
from agents.outlook import sold_if_clicked
from recgym import rng
from recgym.envs.core import Transition
from recgym.settings import Within
from recgym.types import Observation


def conservative(value_NJ: Tensor, shown_NK: Tensor, filled_NK: Tensor, num_items: int) -> Tensor:
    """The term of equation 4, a scalar: mean over pages that hold an item.

    Args:
        value_NJ: Q of J items drawn from the catalogue.
        shown_NK: Q of the items shown.
        filled_NK: slots that hold one, bool.
        num_items: I.
    """
    count_N = filled_NK.sum(-1)
    all_N = value_NJ.logsumexp(-1) + math.log(num_items / value_NJ.shape[1])
    mean_N = (shown_NK * filled_NK).sum(-1) / count_N.clamp(min=1)
    some_N = count_N > 0
    return ((all_N - mean_N) * some_N).sum() / some_N.sum().clamp(min=1)


class CQL(DQN):
    """Conservative DQN over slates; see the module's docstring.

    Args:
        conservatism: weight of the conservative term (their alpha).
        settings: of `agents.dqn.DQN`.
    """

    name = "cql"
    from_log = True
    largest_error = 1e3

    def __init__(
        self, *, conservatism: Annotated[float, Within(0.0)] = 0.001, **settings: Any
    ) -> None:
        super().__init__(**settings)
        self.conservatism = conservatism

    def _more(self, observation: Observation, transition: Transition) -> dict[str, Tensor]:
        """The items shown, and some of the catalogue to compare them with."""
        u_NI = rng.uniform(lane_key(observation), self.user_model.catalog.num_items, torch.float64)
        drawn_NJ = u_NI.topk(self.num_candidates, -1).indices
        shown_NK = transition.outcome.page.item
        both_NJ = torch.cat([drawn_NJ, shown_NK.clamp(min=0)], -1)
        return {
            "compared": both_NJ,
            "compared_sold": sold_if_clicked(self.user_model, observation, both_NJ),
            "filled": shown_NK >= 0,
        }

    def _penalty(
        self, rows: dict[str, Tensor], values: slateq.Values
    ) -> tuple[Tensor | float, dict[str, Tensor]]:
        gain_NJZ = self._gains(values, rows["compared"], rows["compared_sold"])
        value_NJ = slateq.advantages(self.head, values.null, gain_NJZ)
        drawn_NJ, shown_NK = value_NJ.tensor_split([self.num_candidates], -1)
        num_items = self.user_model.catalog.num_items
        term = conservative(drawn_NJ, shown_NK, rows["filled"], num_items)
        return self.conservatism * term, {"conservative": term.detach()}
