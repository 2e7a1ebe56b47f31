"""Sequential rules: what was viewed after the newest item, the sooner the better.

Paper: Kamehkhosh, Jannach and Ludewig 2017, "A comparison of frequent pattern techniques and a deep
learning method for session-based recommendation", the score of SR with the weight 1 / x of views x
steps apart. Deviations: a rule spans at most ``steps`` views, as in the authors' code; the
divisor, one for all items, is left out, since no rank depends on it; no rule is pruned.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from experiments.predicting.base import History, Views
from recgym.settings import Count


class SequentialRules:
    """From the newest item to all that came within some steps of it.

    Args:
        steps: views that a rule spans at most.
    """

    is_law = False

    def __init__(self, *, steps: Count = 10) -> None:
        self.steps = steps

    def fit(self, sessions: Views) -> None:
        """Weigh all pairs of views of a session by 1 / distance."""
        item, place = sessions.item.numpy(), sessions.place().numpy()
        shape = (sessions.num_items, sessions.num_items)
        self.rule_II: Any = csr_matrix(shape, dtype=np.float32)
        for apart in range(1, min(self.steps, int(place.max(initial=0))) + 1):
            later = np.flatnonzero(place >= apart)
            weight = np.full(len(later), 1.0 / apart, dtype=np.float32)
            self.rule_II += csr_matrix((weight, (item[later - apart], item[later])), shape)

    def scores(self, history: History) -> Tensor:
        """Summed weights of the rules from the newest item, [N, I]."""
        return torch.from_numpy(self.rule_II[history.item[:, 0].numpy()].toarray())
